"""Load a public set with the features of one of ours, from the Hugging Face Hub or from a local
copy.

Reading is in two steps: rows in the columns of the Hub (from there, or from public_files.py), then,
by one small function per set (public_sets.py), rows in our columns.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from moe_lib.text.corpora.arrow_cache import quiet_datasets
from moe_lib.text.corpora.load import _offline_if_unreachable
from moe_lib.text.corpora.readers import is_hidden
from moe_lib.text.tasks.public_files import Rows, split_of, table_rows
from moe_lib.text.tasks.public_sets import CORPUS, PUBLIC_SETS, PublicSet
from moe_lib.text.tasks.row_checks import check_offsets, check_row
from moe_lib.text.tasks.schema import DOCUMENT_FIELDS, OUT_OF_SCOPE, TASKS, Field
from moe_lib.text_files import path_of, require_regular

_TABLES = ("*.parquet", "*.jsonl", "*.csv")
# A file, or a split of the Hub: the split that its rows are in if they don't say so themselves, and
# the rows.
Part = tuple[str, Rows]


def public_names() -> list[str]:
    """The public sets that load_task knows, as "public:NAME"."""
    return [f"public:{name}" for name in sorted(PUBLIC_SETS)]


def load_public(
    name: str, path: str | Path | None, limit: int | None
) -> tuple[dict[str, Field], dict[str, list]]:
    """The fields of a public set and the rows of each split; see load_task.

    Rows that no lesson can use (empty text, no label, an answer that is not at its offset) are left
    out, and one warning says how many. A row with other columns or types raises ValueError.
    """
    if name not in PUBLIC_SETS:
        raise ValueError(f"name: got 'public:{name}'; wants one of {', '.join(public_names())}")
    public = PUBLIC_SETS[name]
    fields = _fields(public)
    parts = _hub_parts(name, public) if path is None else _local_parts(public, path)
    if (
        public.like == "support_intent"
    ):  # the labels come from the rows, so the limit must not cut before
        splits = _read(name, public, fields, parts, None)
        found = {row["intent"] for rows in splits.values() for row in rows}
        names = sorted(found, key=lambda intent: (intent == OUT_OF_SCOPE, intent))
        fields = {**fields, "intent": Field("label", tuple(names))}
        splits = {split: rows[:limit] for split, rows in splits.items()}
    else:
        splits = _read(name, public, fields, parts, limit)
    if not splits:
        raise ValueError(
            f"public:{name}: found no usable rows{'' if path is None else f' in {path}'}"
        )
    return fields, splits


def _read(
    name: str, public: PublicSet, fields: dict[str, Field], parts: Iterable[Part], limit: int | None
):
    """The checked rows of each split that has any."""
    splits: dict[str, list] = {}
    left_out: dict[str, list[str]] = {}
    for default, rows in parts:
        for split, place, row in _articles(rows) if name == "wikitext" else rows:
            side = splits.setdefault(split or default, [])
            if len(side) == limit and split is None:
                break
            if len(side) == limit:  # another split may follow in this file
                continue
            converted = _converted(public, row, f"{name}-{split or default}-{len(side) + 1}", place)
            reason = _unusable(converted)
            if reason:
                left_out.setdefault(reason, []).append(place)
                continue
            check_row(converted, fields, place)
            side.append(converted)
    if left_out:
        reasons = "; ".join(
            f"{len(places)} {reason}, first {places[0]}" for reason, places in left_out.items()
        )
        warnings.warn(f"public:{name}: left out {reasons}", stacklevel=4)
    return {split: rows for split, rows in splits.items() if rows}


def _fields(public: PublicSet) -> dict[str, Field]:
    if public.like == CORPUS:
        return DOCUMENT_FIELDS
    fields = dict(TASKS[public.like].fields)
    if public.names:
        fields["label"] = Field("label", public.names)
        fields["kind"] = replace(fields["kind"], names=(public.kind,))
    if public.like == "support_intent":
        fields["intent"] = Field("text")  # any, until all are known
    return fields


def _converted(public: PublicSet, row: dict, row_id: str, place: str) -> dict:
    try:
        return public.convert(row, row_id)
    except ValueError as error:
        raise ValueError(f"{place} {error}") from error


def _unusable(row: dict) -> str | None:
    """Why the row is left out, or None. Wrong types are no reason: check_row raises an error for
    those."""
    for name, value in row.items():
        texts = value.values() if name == "translation" and isinstance(value, dict) else [value]
        if name in ("label", "intent") and value in (None, -1):
            return "without a label"
        if any(isinstance(text, str) and not text.strip() for text in texts):
            return "with empty text"
    answers = row.get("answers")
    if isinstance(answers, dict):
        try:
            check_offsets(answers, row["context"], "")
        except ValueError:
            return "with an answer that is not at its offset"
        except (KeyError, TypeError):
            return None
    return None


def _articles(lines: Rows) -> Rows:
    """Join the lines of WikiText to articles. An article begins at its title, a line "= Title =".

    WikiText writes sections as "= = Section = =".
    """
    article: list[str] = []
    first = None
    for split, place, row in lines:
        line = row["text"].strip() if isinstance(row.get("text"), str) else ""
        if line.startswith("= ") and line.endswith(" =") and not line.startswith("= ="):
            if article:
                yield *first, {"text": "\n".join(article)}
            article, first = [], None
        if line:
            article.append(line)
            first = first or (split, place)
    if article:
        yield *first, {"text": "\n".join(article)}


def _local_parts(public: PublicSet, path: str | Path) -> Iterator[Part]:
    path = path_of("path", path)
    if path.is_dir():
        found = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and _belongs(file.name, public) and not is_hidden(file, path)
        )
        if not found:
            wanted = ", ".join([*public.originals, *(f"train{table[1:]}" for table in _TABLES)])
            raise ValueError(f"{path}: has no file of {public.title}; wants names such as {wanted}")
    else:
        require_regular(path)
        found = [path]
    for file in found:
        yield split_of(file.name) or "train", _file_rows(file, public)


def _file_rows(file: Path, public: PublicSet) -> Rows:
    if file.suffix.lower() in public.tables:
        return table_rows(file)
    if public.read is None:
        raise ValueError(
            f"{file}: unknown file type {file.suffix!r}; wants one of {', '.join(public.tables)}"
        )
    return public.read(file)


def _belongs(file_name: str, public: PublicSet) -> bool:
    if any(fnmatch(file_name, pattern) for pattern in public.originals):
        return True
    return split_of(file_name) is not None and any(
        fnmatch(file_name, pattern) for pattern in _TABLES
    )


def _hub_parts(name: str, public: PublicSet) -> Iterator[Part]:
    import datasets

    repository, config, revision = public.hub
    try:
        with quiet_datasets(), _offline_if_unreachable():
            loaded = datasets.load_dataset(repository, config, revision=revision)
    except (
        Exception
    ) as error:  # offline, unknown, moved and broken data sets raise many kinds of errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        instead = (
            "load_corpus('stories')" if public.like == CORPUS else f"load_task({public.like!r})"
        )
        raise ConnectionError(
            f"public:{name}: {public.title} is not on this machine and the Hugging Face Hub "
            "does not give it "
            f"({reason}); pass path= of a local copy, or use the course's own: {instead}"
        ) from error
    for split, rows in loaded.items():
        yield split, _hub_rows(rows, f"{repository}: {split}")


def _hub_rows(rows, place: str) -> Rows:
    names = {
        column: feature for column, feature in rows.features.items() if hasattr(feature, "int2str")
    }
    for number, row in enumerate(rows, start=1):
        for column, feature in names.items():
            if row[column] is not None and row[column] >= 0:
                row[column] = feature.int2str(row[column])
        yield None, f"{place}, row {number}", row
