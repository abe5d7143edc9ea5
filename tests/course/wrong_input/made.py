"""What the tables of this folder share: files with faults, made when their test runs."""

import json
import tempfile
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from moe_lib.paths import DATA
from tests.wrong_input.table import NAN

FOLDER = tempfile.TemporaryDirectory()
SEED = [-1, 1.5, True, "3", None, NAN, 2**63]
STUDIES = DATA / "studies"


def file(content, name="study.json") -> Path:
    """A file that holds `content`: a text as it is, else as JSON."""
    path = Path(tempfile.mkdtemp(dir=FOLDER.name)) / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def folder() -> Path:
    return Path(tempfile.mkdtemp(dir=FOLDER.name))


def changed(path: Path, change) -> Path:
    """A stored JSON file after `change`, which gets its content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    return file(content, path.name)


def notebook():
    setup = new_code_cell("from moe_course import check", metadata={"tags": ["setup"]})
    return new_notebook(cells=[new_markdown_cell("# 03 A title\n\nmeasured: 9 s CPU"), setup])


def without(make, *path, **new):
    """What `make` gives, without the field at the end of the path, or with another value there."""
    content = make()
    *outer, last = path
    inner = content
    for step in outer:
        inner = inner[step]
    if new:
        inner[last] = new["value"]
    else:
        del inner[last]
    return content
