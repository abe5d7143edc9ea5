"""Load a labelled set with one call. Nothing is cached on disk: the files are small and read in
moments."""

import json
from pathlib import Path

from moe_lib.errors import require
from moe_lib.paths import DATA
from moe_lib.text.corpora.readers import _jsonl_rows
from moe_lib.text.tasks.public import load_public
from moe_lib.text.tasks.row_checks import check_row, check_unique
from moe_lib.text.tasks.schema import PRODUCT_FIELDS, TASKS, Field, features
from moe_lib.text_files import path_of

PUBLIC = "public:"


def task_names() -> list[str]:
    """The names of the course's own labelled sets."""
    return sorted(TASKS)


def load_task(
    name: str, split: str | None = None, *, path: str | Path | None = None, limit: int | None = None
):
    """Load a labelled set as a datasets.DatasetDict, or one split of it as a Dataset.

    name    one of task_names(), in data/tasks, which needs no network; or "public:" and one of
            public_names(), which has the features of one of ours:

            support_intent     id, text, intent (ClassLabel), language (ClassLabel)
            market_sentiment   id, text, label (ClassLabel), kind
            qa_spans           id, title, context, question, answers {text, answer_start}, as in
                               SQuAD 2
            translation_en_zh  id, translation {en, zh} (Translation), origin
            summaries          id, text, summary, theme
            catalogue          id, request, language (ClassLabel), product_ids: see load_products
    split   the name of one split; None for all. Ours have "train", "validation" and "test", but
            translation_en_zh has two tests, "test_combinations" and "test_free".
    path    read from there: for one of ours, a folder like data/tasks/NAME; for a public set, a
            local copy (a file or a folder) in the form in which the set is published. By default a
            public set comes from the Hugging Face Hub.
    limit   use only so many rows of each split, the first ones

    Every row is checked. Raises ValueError for a bad argument or a damaged file (naming the file
    and the row), FileNotFoundError for a missing file, ConnectionError when a public set is out of
    reach.
    """
    require(
        limit is None or (type(limit) is int and limit > 0),
        "limit",
        limit,
        "None or a whole number of at least 1",
    )
    _check_name(name)
    require(
        isinstance(split, str | None), "split", split, "the name of a split, or None", TypeError
    )
    if name.startswith(PUBLIC):
        fields, rows = load_public(name.removeprefix(PUBLIC), path, limit)
    elif name in TASKS:
        fields = TASKS[name].fields
        rows = {side: part[:limit] for side, part in _read_task(name, path).items()}
    else:
        raise ValueError(
            f"name: got {name!r}; wants one of {', '.join(task_names())}, or '{PUBLIC}' and a name"
        )
    if split is not None and split not in rows:
        raise ValueError(f"split: got {split!r}; wants None or one of {', '.join(rows)}")
    if split is not None:
        return _dataset(rows[split], fields)
    from datasets import DatasetDict

    return DatasetDict({side: _dataset(part, fields) for side, part in rows.items()})


def load_products(path: str | Path | None = None):
    """Load the products of the catalogue as a datasets.Dataset.

    Columns: id, name, category, price (float), description, attributes. Which attributes a product
    has depends on its type, so they are JSON text: json.loads(row["attributes"])["type"].

    path   a folder like data/tasks/catalogue, or None for that one

    Raises FileNotFoundError or ValueError, as load_task.
    """
    rows = _read_rows(_folder("catalogue", path) / "products.jsonl", PRODUCT_FIELDS, {})
    packed = [
        {**row, "attributes": json.dumps(row["attributes"], ensure_ascii=False)} for _, row in rows
    ]
    return _dataset(packed, PRODUCT_FIELDS)


def load_second_labels(name: str, path: str | Path | None = None) -> dict[str, str]:
    """The second labelling of some rows of a classified set: from the id of a row to its second
    label.

    Raises ValueError if the set has none or an id or a label is not one of the set's.
    """
    _check_name(name)
    if name not in TASKS or TASKS[name].label is None:
        classified = [key for key, task in TASKS.items() if task.label]
        raise ValueError(
            f"name: got {name!r}; wants a classified set, one of {', '.join(classified)}"
        )
    ids = {row["id"] for rows in _read_task(name, path).values() for row in rows}
    fields = {"id": Field("text"), "label": TASKS[name].fields[TASKS[name].label]}
    labels = {}
    for place, row in _read_rows(_folder(name, path) / "second_labels.jsonl", fields, {}):
        if row["id"] not in ids:
            raise ValueError(f'{place}: "id" {row["id"]!r} is in no split of {name}')
        labels[row["id"]] = row["label"]
    return labels


def _check_name(name: object) -> None:
    require(isinstance(name, str), "name", name, "the name of a labelled set", TypeError)


def _folder(name: str, path: str | Path | None) -> Path:
    return DATA / "tasks" / name if path is None else path_of("path", path)


def _read_task(name: str, path: str | Path | None) -> dict[str, list[dict]]:
    """All splits of a set of ours, checked: an id occurs once in the whole set."""
    folder, seen = _folder(name, path), {}
    products = None
    if name == "catalogue":
        products = {
            row["id"] for _, row in _read_rows(folder / "products.jsonl", PRODUCT_FIELDS, {})
        }
    splits = {}
    for split in TASKS[name].splits:
        rows = _read_rows(folder / f"{split}.jsonl", TASKS[name].fields, seen)
        for place, row in rows:
            if products is not None and not products.issuperset(row["product_ids"]):
                unknown = [product for product in row["product_ids"] if product not in products]
                raise ValueError(
                    f'{place}: "product_ids" has {unknown[0]!r}, which is not in products.jsonl'
                )
        splits[split] = [row for _, row in rows]
    return splits


def _read_rows(
    file: Path, fields: dict[str, Field], seen: dict[str, str]
) -> list[tuple[str, dict]]:
    """The rows of a JSONL file, each with its place ("FILE: line N"), checked."""
    rows = []
    for number, row in _jsonl_rows(file):
        place = f"{file}: line {number}"
        check_row(row, fields, place)
        check_unique(seen, row["id"], place)
        rows.append((place, row))
    return rows


def _dataset(rows: list[dict], fields: dict[str, Field]):
    from datasets import Dataset

    return Dataset.from_dict(
        {name: [row[name] for row in rows] for name in fields}, features=features(fields)
    )
