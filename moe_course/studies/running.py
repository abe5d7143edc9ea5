"""What all studies share: their command line, what they say of themselves, and finished runs that
are kept, so that a study that is broken off goes on where it was."""

import json
import platform
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch

from moe_lib.console import Parser, first_paragraph, one_line, page
from moe_lib.errors import require
from moe_lib.files import read_json, require_fields, require_only, write_json
from moe_lib.paths import DATA, REPOSITORY
from moe_lib.text_files import path_of
from moe_lib.validation import Block, Finite, checked_value

STUDIES = DATA / "studies"


def command_of(study: str, arguments: str = "") -> str:
    """The command that makes a study again."""
    return f"python -m moe_course.studies.{study} {arguments}".strip()


def parser_of(study: str, description: str) -> Parser:
    """A parser that is called as the study is; `description` is its module's docstring, of which
    the first paragraph is shown."""
    return Parser(prog=command_of(study), description=first_paragraph(description))


def require_shape(place: str, content: Mapping, shape: Mapping[str, Any]) -> None:
    """ValueError naming `place` and the field unless `content` has all fields of `shape`: a field
    is an annotation, or a shape itself."""
    for field, hint in shape.items():
        inner = isinstance(hint, Mapping)
        found = field_of(place, content, field, Mapping if inner else hint)
        if inner:
            require_shape(f"{place}: {field!r}", found, hint)


def study_page(given: str) -> Path:
    """An argparse type: a file that a study can be written to. What is there must be a study, so
    that no other file is lost, nor found unreadable after hours."""
    path = page(given)
    if path.exists():
        try:
            content = read_json(path)
        except ValueError as error:
            raise ArgumentTypeError(f"{one_line(error)}; wants a new file, or a study") from error
        parts = [content, *(part for part in content.values() if isinstance(part, dict))]
        if content and not any("about" in part or "runs" in part for part in parts):
            raise ArgumentTypeError(f"{path}: is no study; wants a new file, or a study")
    return path


def about(study: str, arguments: str = "", **facts) -> dict:
    """What a stored study says of itself: its command, `facts`, the day and the versions."""
    return {
        "command": command_of(study, arguments),
        **facts,
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
    }


def _steps(value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError


# {steps or tokens: loss}; out of a file the steps are text.
Curve = Mapping[
    Annotated[Any, Block("a whole number of at least 0", _steps, lambda steps: steps >= 0)], Finite
]


def read_study(study: Path, **fields) -> dict:
    """A stored study with these fields, field=annotation; FileNotFoundError or ValueError naming
    the file, and the field at fault."""
    study = path_of("study", study)
    content = read_json(study)
    for field, hint in fields.items():
        field_of(study, content, field, hint)
    return content


def stored_rows(place: object, content: Mapping, field: str, **columns) -> list[dict]:
    """The rows in a field of a study, at least one, each with these columns, column=annotation.
    ValueError naming `place` (its file, or the argument that it is), the field, the row and the
    column."""
    rows = field_of(place, content, field, list[dict[str, Any]])
    require(len(rows) > 0, f"{place}: {field!r}", rows, "at least one row")
    for number, row in enumerate(rows):
        for column, hint in columns.items():
            field_of(f"{place}: {field!r}[{number}]", row, column, hint)
    return rows


def field_of(place: object, content: Mapping, field: str, hint: Any) -> Any:
    """What `content` holds under `field`; ValueError naming `place` and the field if there is no
    such field, or nothing that the annotation `hint` allows."""
    wants = f"a field {field!r}"
    require(isinstance(content, Mapping), str(place), content, f"a mapping with {wants}", TypeError)
    require(field in content, str(place), sorted(map(str, content)), wants)
    try:
        return checked_value(f"{place}: {field!r}", content[field], hint)
    except TypeError as error:  # in a file a wrong type is a wrong value
        raise ValueError(str(error)) from error


def runs_folder(study: str) -> Path:
    """Where a study keeps its finished runs; not part of the repository."""
    return REPOSITORY / "runs" / study


def kept_run(path: Path | None, key: dict, run: Callable[[], object]) -> object:
    """What `run()` gave, from `path` if it was kept there under the same `key`; else it runs, and
    is kept. path: None keeps nothing."""
    key = json.loads(json.dumps(key))  # as it comes out of a file again: tuples are lists there
    if path is not None and path.is_file():
        stored = read_json(path)
        require_only(path, stored, "key", "run")  # another file would be lost
        require_fields(path, stored, key=dict, run=object)
        if stored["key"] == key:
            return stored["run"]
    found = rounded(run())
    if path is not None:
        write_json(path, {"key": key, "run": found})
    return found


def rounded(content):
    """Losses to four digits: the fifth depends on the machine."""
    if isinstance(content, dict):
        return {name: rounded(value) for name, value in content.items()}
    if isinstance(content, list):
        return [rounded(value) for value in content]
    return round(content, 4) if isinstance(content, float) else content


class Report:
    """A callback of `compare` that says which run has begun."""

    def __init__(self):
        self.run = None

    def __call__(self, at: dict) -> None:
        if at["run"] != self.run:
            self.run = at["run"]
            labels = "" if at["n_train"] is None else f", {at['n_train']} labels"
            place = f"run {self.run + 1} of {at['runs']}"
            print(f"{place}: {at['case']}{labels}, seed {at['seed']}", flush=True)
