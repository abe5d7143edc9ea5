"""Read local copies of public sets, in the form in which each was first published.

Every reader yields (split, place, row). A row has the columns that the set has on the Hugging Face
Hub, labels as names where the file has names; public_sets.py makes our columns of it. `split` is
None where the whole file is one split. `place` is how an error names the row.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from moe_lib.text.corpora.readers import _csv_rows, _jsonl_rows, _parquet_rows, _read_utf8
from moe_lib.text_files import parse_json, require_regular

Rows = Iterator[tuple[str | None, str, dict]]
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
STORY_END = "<|endoftext|>"


def split_of(file_name: str) -> str | None:
    """The split that a file's name tells, if any: "dev-v2.0.json" is "validation"."""
    for word in re.split(r"[^a-z]+", file_name.lower()):
        if word in _SPLIT_WORDS:
            return _SPLIT_WORDS[word]
    return None


def table_rows(path: Path) -> Rows:
    """A .parquet, .jsonl or .csv file with the columns of the Hub."""
    kind = path.suffix.lower()
    names = _parquet_label_names(path) if kind == ".parquet" else {}
    readers = {
        ".parquet": _parquet_rows,
        ".jsonl": _jsonl_rows,
        ".csv": lambda file: _csv_rows(file, ","),
    }
    for number, row in readers[kind](path):
        place = f"{path}: {'line' if kind == '.jsonl' else 'row'} {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{place} is {type(row).__name__}; wants an object with fields")
        for column, known in names.items():
            if type(row.get(column)) is int and 0 <= row[column] < len(known):
                row[column] = known[row[column]]
        yield None, place, row


def _parquet_label_names(path: Path) -> dict[str, list[str]]:
    """The label names that `datasets` writes into the Parquet files of the Hub, by column."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        found = json.loads(metadata.get(b"huggingface", b"{}"))
    except (pyarrow.ArrowException, OSError, ValueError):
        return {}  # _parquet_rows says what is wrong with the file
    try:
        columns = found["info"]["features"].items()
    except (AttributeError, KeyError, TypeError):
        return {}
    return {
        name: column["names"]
        for name, column in columns
        if isinstance(column, dict) and isinstance(column.get("names"), list)
    }


def squad_rows(path: Path) -> Rows:
    """SQuAD's JSON: data > paragraphs > qas."""
    data = parse_json(_read_utf8(path), path)
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        raise ValueError(f'{path}: has no list "data"; wants the JSON of SQuAD 2')
    for here, article in _objects(data["data"], f"{path}: article"):
        here = f"{path}: {article['title']!r}" if "title" in article else here
        for place, paragraph in _objects(article.get("paragraphs", []), f"{here}, paragraph"):
            if not {"context", "qas"} <= set(paragraph):
                raise ValueError(
                    f'{place} has {", ".join(paragraph) or "nothing"}; wants "context" and "qas"'
                )
            for asked, question in _objects(paragraph["qas"], f"{place}, question"):
                given = _objects(question.get("answers", []), f"{asked}, answer")
                answers = [answer for _, answer in given]
                row = {
                    "id": question.get("id"),
                    "title": article.get("title"),
                    "context": paragraph["context"],
                    "question": question.get("question"),
                    "answers": {
                        key: [answer.get(key) for answer in answers]
                        for key in ("text", "answer_start")
                    },
                }
                yield None, f"{place}, question {row['id']!r}", row


def ag_news_rows(path: Path) -> Rows:
    """AG News as CSV without a header: class 1 to 4, title, description; or with the Hub's text and
    label."""
    text = _read_utf8(path)
    if text.split("\n", 1)[0].replace('"', "").strip() in ("text,label", "label,text"):
        yield from table_rows(path)
        return
    for number, row in enumerate(
        csv.reader(io.StringIO(text, newline=""), skipinitialspace=True), start=1
    ):
        place = f"{path}: row {number}"
        if len(row) != 3 or row[0] not in ("1", "2", "3", "4"):
            raise ValueError(
                f"{place} is {row!r}; wants a class from 1 to 4, a title and a description"
            )
        yield None, place, {"text": f"{row[1]} {row[2]}", "label": int(row[0]) - 1}


def json_lines(path: Path) -> Rows:
    """JSON Lines under the name .json, as TNEWS has them."""
    for number, row in _jsonl_rows(path):
        if not isinstance(row, dict):
            raise ValueError(
                f"{path}: line {number} is {type(row).__name__}; wants an object with fields"
            )
        yield None, f"{path}: line {number}", row


def phrasebank_rows(path: Path) -> Rows:
    """Financial PhraseBank: a line is sentence@label, in Latin-1."""
    for number, line in _lines(path, "latin-1"):
        if line.strip():
            sentence, sign, label = line.rpartition("@")
            if not sign:
                raise ValueError(f"{path}: line {number} has no @; wants sentence@label")
            yield None, f"{path}: line {number}", {"sentence": sentence, "label": label.strip()}


def clinc_rows(path: Path) -> Rows:
    """CLINC150's data_full.json: train, val, test and oos_train, oos_val, oos_test, lists of [text,
    intent]."""
    data = parse_json(_read_utf8(path), path)
    if not isinstance(data, dict):
        raise ValueError(
            f"{path}: holds {type(data).__name__}; wants an object with train, val and test"
        )
    for part in ("train", "oos_train", "val", "oos_val", "test", "oos_test"):
        if part not in data:
            raise ValueError(f'{path}: has no "{part}"; it has {", ".join(data) or "nothing"}')
        for place, row in _numbered(data[part], f"{path}: {part}, row"):
            if not isinstance(row, list) or len(row) != 2:
                raise ValueError(f"{place} is {row!r}; wants [text, intent]")
            yield _SPLIT_WORDS[part.removeprefix("oos_")], place, {"text": row[0], "intent": row[1]}


def opus_rows(path: Path) -> Rows:
    """OPUS-100: two parallel text files, .en and .zh; `path` is either."""
    english, chinese = path.with_suffix(".en"), path.with_suffix(".zh")
    for file in (english, chinese):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: no such file; OPUS-100 has an .en file and a .zh file of the same name"
            )
    pairs = zip(_lines(english), _lines(chinese), strict=True)
    try:
        for (number, en), (_, zh) in pairs:
            yield None, f"{english}: line {number}", {"translation": {"en": en, "zh": zh}}
    except ValueError as error:
        if "zip()" not in str(error):
            raise
        raise ValueError(
            f"{english} and {chinese.name} do not have the same number of lines"
        ) from error


def xsum_rows(path: Path) -> Rows:
    """XSum: a JSON file with the ids of each split, and beside it (or in a folder there) one
    ID.summary each."""
    splits = parse_json(_read_utf8(path), path)
    if not isinstance(splits, dict) or not set(splits) <= set(_SPLIT_WORDS):
        raise ValueError(f"{path}: wants an object with the ids of train, validation and test")
    files = {file.stem: file for file in path.parent.rglob("*.summary")}
    for part, ids in splits.items():
        for place, row_id in _numbered(ids, f"{path}: {part}, id"):
            if not isinstance(row_id, str):
                raise ValueError(f"{place} is {row_id!r}; wants text")
            if row_id not in files:
                raise FileNotFoundError(
                    f"{path.parent / row_id}.summary: no such file, but {path.name} names it"
                )
            text = _read_utf8(files[row_id])
            pieces = text.split(
                "[SN]"
            )  # "", "URL", url, "TITLE", title, "FIRST-SENTENCE", ..., "RESTBODY", ...
            sections = {
                name.strip(): body.strip()
                for name, body in zip(pieces[1::2], pieces[2::2], strict=False)
            }
            if not {"FIRST-SENTENCE", "RESTBODY"} <= set(sections):
                raise ValueError(
                    f"{files[row_id]}: has no [SN]FIRST-SENTENCE[SN] and [SN]RESTBODY[SN]"
                )
            row = {
                "document": sections["RESTBODY"],
                "summary": sections["FIRST-SENTENCE"],
                "id": row_id,
            }
            yield _SPLIT_WORDS[part], str(files[row_id]), row


_LCSTS_PARTS = {"PART_I": "train", "PART_II": "validation", "PART_III": "test"}


def lcsts_rows(path: Path) -> Rows:
    """LCSTS: <doc id=0> blocks of <summary> and <short_text>, in PART_II and PART_III with a
    <human_label>.

    As is usual, rows whose summary people rated below 3 of 5 are skipped.
    """
    block: list[str] = []
    number = start = 0
    for number, line in _lines(path):
        if line.lstrip().startswith("<doc"):
            block, start = [], number
        block.append(line)
        if line.strip() != "</doc>":
            continue
        text, place = "\n".join(block), f"{path}: line {start}"
        block = []
        parts = {
            key: re.search(rf"<{key}>(.*?)</{key}>", text, re.DOTALL)
            for key in ("summary", "short_text")
        }
        if not all(parts.values()):
            raise ValueError(f"{place}: this <doc> has no <summary> and <short_text>")
        rated = re.search(r"<human_label>\s*(\d)\s*</human_label>", text)
        if rated is None or int(rated[1]) >= 3:
            row = {"summary": parts["summary"][1].strip(), "text": parts["short_text"][1].strip()}
            yield _LCSTS_PARTS.get(path.stem), place, row
    if any(line.strip() for line in block):
        raise ValueError(f"{path}: line {number}: the file ends inside a <doc>")


def text_lines(path: Path) -> Rows:
    """WikiText: plain lines."""
    for number, line in _lines(path):
        yield None, f"{path}: line {number}", {"text": line}


def story_rows(path: Path) -> Rows:
    """TinyStories: stories with <|endoftext|> after each."""
    story: list[str] = []
    start = 1
    for number, line in _lines(path):
        if line.strip() != STORY_END:
            story.append(line)
            continue
        yield None, f"{path}: line {start}", {"text": "\n".join(story).strip()}
        story, start = [], number + 1
    if any(line.strip() for line in story):
        yield None, f"{path}: line {start}", {"text": "\n".join(story).strip()}


def _numbered(items: object, place: str) -> Iterator[tuple[str, object]]:
    """(place and number, item) of a list; ValueError if it is none."""
    if not isinstance(items, list):
        raise ValueError(f"{place}s: holds {type(items).__name__}; wants a list")
    yield from ((f"{place} {number}", item) for number, item in enumerate(items, start=1))


def _objects(items: object, place: str) -> Iterator[tuple[str, dict]]:
    """The same for a list of objects; ValueError naming the first that is none."""
    for here, item in _numbered(items, place):
        if not isinstance(item, dict):
            raise ValueError(f"{here} is {type(item).__name__}; wants an object with fields")
        yield here, item


def _lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Line by line, for files too large to read whole. Only a newline ends a line."""
    require_regular(path)
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield number, raw.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: line {number} is not valid {encoding.upper()} ({error.reason})"
                ) from error
