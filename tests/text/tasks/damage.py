"""Damaged copies of the course's sets, for the tests."""

import json
import shutil
from pathlib import Path

from moe_lib.paths import DATA


def copy_of(name: str, folder: Path) -> Path:
    """A copy of data/tasks/NAME that a test may damage."""
    target = folder / name
    shutil.copytree(DATA / "tasks" / name, target)
    return target


def change_line(file: Path, line: int, change) -> None:
    """Replace one line (counted from 1) by `change(row)`: an object, or text to write as it is."""
    lines = file.read_text(encoding="utf-8").split("\n")
    new = change(json.loads(lines[line - 1]))
    lines[line - 1] = new if isinstance(new, str) else json.dumps(new, ensure_ascii=False)
    file.write_text("\n".join(lines), encoding="utf-8", newline="\n")


def first_line(file: Path, fits) -> int:
    """The number of the first line, from the third on, whose row fits."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    return next(number for number, row in enumerate(rows, start=1) if number >= 3 and fits(row))
