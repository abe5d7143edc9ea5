"""Does what a row of the ledger names exist, and are its numbers still those that were measured?"""

import ast
import json
import re
from functools import cache
from pathlib import Path

from moe_course.article.ledger.rows import Printed, Row, Stored
from moe_course.chapters import find_chapter
from moe_lib.paths import REPOSITORY
from moe_lib.text_files import parse_json, read_text


def missing(row: Row, repository: Path = REPOSITORY) -> list[str]:
    """What a row names and is not there, or is another number now: a sentence for each."""
    found = []
    for place in row.chapters:
        path = _notebook(place.chapter, repository)
        if not path.exists():
            found.append(f"{row.id}: there is no {path.name}")
        elif place.heading not in headings(path):
            found.append(f"{row.id}: {path.name} has no heading {place.heading!r}")
    for test in row.tests:
        file, _, function = test.partition("::")
        if not (repository / file).exists():
            found.append(f"{row.id}: there is no {file}")
        elif function and function not in tests_of(repository / file):
            found.append(f"{row.id}: {file} has no {function}")
    for name, number in row.numbers.items():
        try:
            now = reread(number, repository)
        except ValueError as error:
            found.append(f"{row.id}, {name}: {error}")
            continue
        if now != number.value:
            found.append(f"{row.id}, {name}: {number.value} here, and {now} where it comes from")
    return found


def reread(number: Printed | Stored, repository: Path = REPOSITORY) -> str:
    """The number as it stands where it comes from. ValueError if it is not there, or is there
    twice with different values."""
    if isinstance(number, Printed):
        path = _notebook(number.chapter, repository)
        values = set(re.findall(number.pattern, outputs(path), re.MULTILINE))
        if len(values) != 1:
            raise ValueError(f"{path.name}: {number.pattern!r} fits {sorted(values) or 'nothing'}")
        return values.pop()
    path = repository / "data" / "studies" / f"{number.study}.json"
    content = parse_json(read_text(path), path)
    rows = [
        row
        for row in content.get(number.rows, [])
        if all(row.get(name) == value for name, value in number.where.items())
    ]
    if len(rows) != 1 or number.field not in rows[0]:
        raise ValueError(f"{path.name}: {len(rows)} rows with {number.where} and {number.field!r}")
    return format(rows[0][number.field], number.format)


@cache
def headings(notebook: Path) -> frozenset[str]:
    """The headings of a notebook, without their marks."""
    cells = json.loads(read_text(notebook))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return frozenset(found.strip() for found in re.findall(r"^#{1,4} (.*)$", text, re.MULTILINE))


@cache
def outputs(notebook: Path) -> str:
    """All that the cells of a notebook put out as plain text."""
    shown = [
        output.get("text") or output.get("data", {}).get("text/plain") or ""
        for cell in json.loads(read_text(notebook))["cells"]
        for output in cell.get("outputs", ())
    ]
    return "\n".join("".join(text) for text in shown)


@cache
def tests_of(file: Path) -> frozenset[str]:
    """The functions of a test file."""
    tree = ast.parse(read_text(file))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _notebook(chapter: str, repository: Path) -> Path:
    return repository / "notebooks" / find_chapter(chapter).filename
