"""Text files and JSON: whatever is wrong with one that is read, a single error names the file; one
that is written appears whole or not at all."""

import json
import os
from pathlib import Path

from moe_lib.errors import require

_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}  # by how the file begins


def path_of(argument: str, value: object) -> Path:
    """`value` as a Path, "~" expanded. Raises TypeError or ValueError naming the argument unless it
    is a text that is not empty, or a Path."""
    wants = "the path of a file or folder, as a text or a Path"
    require(isinstance(value, str | Path), argument, value, wants, TypeError)
    require(str(value).strip() != "" and "\0" not in str(value), argument, value, wants)
    return Path(value).expanduser()


def require_regular(path: Path) -> None:
    """Raise FileNotFoundError if there is no such file, ValueError for a folder, a pipe or a
    device: opening a pipe would wait for ever."""
    if not os.path.exists(path):  # unlike Path.exists no error for a name that is too long
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ValueError(f"{path}: is a folder, a pipe or a device; wants a file")


def require_regular_files(folder: Path) -> None:
    """ValueError naming a pipe or a device in the folder: other libraries would open it, and
    wait."""
    for path in folder.iterdir():
        if path.exists() and not path.is_dir():
            require_regular(path)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; lines end in a newline alone.

    Raises FileNotFoundError if there is none, ValueError naming the file (and the line) if it is
    no file, cannot be read, is not UTF-8 or holds zero bytes, as no text does.
    """
    path = Path(path)
    require_regular(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if raw[:2] in _OTHER_ENCODINGS:
        raise ValueError(
            f"{path}: line 1 is not valid UTF-8 (the file begins as {_OTHER_ENCODINGS[raw[:2]]} "
            "does); save the file as UTF-8"
        )
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}: line {line} is not valid UTF-8 (byte 0x{raw[error.start]:02x}); save "
            "the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{path}: line {line} holds a zero byte; wants text, saved as UTF-8")
    return text


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: a full disk or a kill leaves the old one, and an OSError names it.
    A file that holds `content` already is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    from moe_lib.files import write_atomically  # here, because with safetensors it brings torch

    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def parse_json(text: str, path: Path, line: int | None = None) -> object:
    """What the JSON `text` of `path` says; `line` is where it stands if it is a line of the file.

    Raises ValueError naming file and line if it is not valid JSON, also if it is nested too deep.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = error.lineno if line is None else line
        raise ValueError(f"{path}: line {at} is not valid JSON ({error.msg})") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        deep = isinstance(error, RecursionError)
        reason = "nested too deep" if deep else str(error).split(";")[0]
        where = path if line is None else f"{path}: line {line}"
        raise ValueError(f"{where}: is not valid JSON ({reason})") from error


def check_text(value: object, place: str) -> None:
    """Raise ValueError unless `value` is text, not empty, and valid Unicode. `place` is how the
    error names it: the file, the row, the field."""
    if not isinstance(value, str):
        raise ValueError(f"{place} is {type(value).__name__}; wants text")
    if not value.strip():
        raise ValueError(f"{place} is empty")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{place} has half a surrogate pair, which is not valid Unicode")
