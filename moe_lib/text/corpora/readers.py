"""Read documents from files. Every error names the file, and the row or line where there is one.

A document is a dictionary with `text`, `domain`, `source` and `key`, as in python_sources.py.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from moe_lib.text_files import check_text, parse_json, read_text, require_regular
from moe_lib.validation import Count, PathLike, checked

# A text file longer than this is cut at blank lines into documents of about CHUNK characters.
LONG_TEXT, CHUNK = 4_000, 2_000  # characters
FILE_TYPES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")


@checked
def read_documents(
    path: PathLike, *, text_column: str = "text", limit: Count | None = None
) -> list[dict]:
    """Read a .txt, .jsonl, .json, .csv, .tsv or .parquet file, or all .txt files below a folder.

    A .txt file is cut at form feeds if it has any, else at blank lines if it is long, else it is
    one document. In the other formats a row is a document: its text is in `text_column`; `domain`,
    `source` and `id` columns are used if there are any. `limit`: read only so many documents, the
    first ones.

    Raises FileNotFoundError if there is no such file, ValueError if it is unreadable, empty, not
    UTF-8, of an unknown type, or has a row without text.
    """
    path = Path(path)
    if path.is_dir():
        documents = _read_folder(path, text_column, limit)
    else:
        require_regular(path)
        rows = (
            _text_documents(path, path.name)
            if path.suffix.lower() == ".txt"
            else _row_documents(path, text_column)
        )
        documents = list(islice(rows, limit))
    if not documents:
        raise ValueError(f"{path}: has no documents; wants at least one")
    return documents


def row_document(row: dict, place: str, text_column: str, domain: str, source: str) -> dict:
    """Check one row and make a document of it. `place` is how an error names the row."""
    if text_column not in row or row[text_column] is None:
        columns = ", ".join(repr(name) for name in row)
        raise ValueError(f'{place} has no "{text_column}"; it has {columns or "nothing"}')
    check_text(row[text_column], f'{place}: "{text_column}"')
    return {
        "text": row[text_column],
        "domain": _named(row, "domain", place) or domain,
        "source": _named(row, "source", place) or source,
        "key": None if row.get("id") is None else f"{domain}:{_named(row, 'id', place)}",
    }


def _named(row: dict, column: str, place: str) -> str:
    """A name in a row: a text or a number; "" where there is none, or 0 for a domain or source."""
    value = row.get(column)
    if not isinstance(value, str | int | float | None) or isinstance(value, bool):
        raise ValueError(f'{place}: "{column}" is {type(value).__name__}; wants text')
    if isinstance(value, str) and value:
        check_text(value, f'{place}: "{column}"')
    return str(value) if value or column == "id" else ""


def _read_folder(folder: Path, text_column: str, limit: int | None) -> list[dict]:
    if (folder / "documents.jsonl").is_file():  # the course's own corpora
        return list(
            islice(_row_documents(folder / "documents.jsonl", text_column, folder.name), limit)
        )
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".txt" and path.is_file() and not is_hidden(path, folder)
    )
    if not paths:
        raise ValueError(f"{folder}: has no documents.jsonl and no .txt files")
    documents: list[dict] = []
    for path in paths:
        wanted = None if limit is None else limit - len(documents)
        if wanted == 0:
            break
        source = path.relative_to(folder).as_posix()
        documents += islice(_text_documents(path, source, folder.name), wanted)
    return documents


def is_hidden(path: Path, folder: Path) -> bool:
    """Is a file below `folder` hidden or a system's own: Jupyter's .ipynb_checkpoints (which hold
    copies), macOS's ._name and __MACOSX?"""
    parts = path.relative_to(folder).parts
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _text_documents(path: Path, source: str, domain: str | None = None) -> Iterator[dict]:
    text = _read_utf8(path)
    if "\f" in text:
        pieces = [piece for piece in text.split("\f") if piece.strip()]
    elif len(text) > LONG_TEXT:
        pieces = _chunks(text)
    else:
        pieces = [text]
    for number, piece in enumerate(pieces, start=1):
        place = source if len(pieces) == 1 else f"{source}#{number}"
        yield {
            "text": piece.strip("\n"),
            "domain": domain or path.stem,
            "source": place,
            "key": None,
        }


def _chunks(text: str) -> list[str]:
    """Paragraphs (separated by blank lines), joined until a piece has about CHUNK characters."""
    pieces: list[str] = []
    size = CHUNK
    for paragraph in text.split("\n\n"):
        if not paragraph.strip():
            continue
        if size >= CHUNK:
            pieces.append(paragraph)
            size = 0
        else:
            pieces[-1] += "\n\n" + paragraph
        size += len(paragraph)
    return pieces


def _row_documents(path: Path, text_column: str, domain: str | None = None) -> Iterator[dict]:
    kind = path.suffix.lower()
    if kind == ".jsonl":
        rows: Iterable = _jsonl_rows(path)
    elif kind == ".json":
        rows = _json_rows(path)
    elif kind in (".csv", ".tsv"):
        rows = _csv_rows(path, "\t" if kind == ".tsv" else ",")
    elif kind == ".parquet":
        rows = _parquet_rows(path)
    else:
        raise ValueError(
            f"{path}: unknown file type {kind!r}; wants one of {', '.join(FILE_TYPES)}"
        )
    for number, row in rows:
        place = f"{path}: {'line' if kind == '.jsonl' else 'row'} {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{place} is {type(row).__name__}; wants an object with fields")
        yield row_document(row, place, text_column, domain or path.stem, f"{path.name}:{number}")


def _jsonl_rows(path: Path) -> Iterator[tuple[int, object]]:
    # Not splitlines(): a JSON text may hold other line separators, such as U+2028.
    for number, line in enumerate(_read_utf8(path).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, path, number)


def _json_rows(path: Path) -> Iterator[tuple[int, object]]:
    rows = parse_json(_read_utf8(path), path)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: holds {type(rows).__name__}; wants a list of objects")
    yield from enumerate(rows, start=1)


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict]]:
    text = _read_utf8(path)
    previous_limit = csv.field_size_limit(
        max(131_072, len(text))
    )  # the default refuses long documents
    number = 0
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = reader.fieldnames or []
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ValueError(f"{path}: the header has {twice[0]!r} twice; wants each column once")
        for number, row in enumerate(reader, start=1):
            if None in row:
                raise ValueError(f"{path}: row {number} has more fields than the header")
            yield number, row
    except csv.Error as error:
        raise ValueError(f"{path}: row {number + 1} is not valid CSV ({error})") from error
    finally:
        csv.field_size_limit(previous_limit)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict]]:
    import pyarrow
    import pyarrow.parquet

    require_regular(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: is empty")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: not a readable Parquet file after row {number} ({reason})"
        ) from error


def _read_utf8(path: Path) -> str:
    """The text of a file that is not empty."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    return text
