"""Notebook to Python script and back, for writing chapters in an editor.

Cells start with `# %%` (code) or `# %% [markdown]`, with tags after it: `# %% tags=["exercise"]`.
Markdown lines carry a leading "# ", or stand as they are between two lines of three double quotes.
The notebook is the source that is kept; a script is a way to edit it, and outputs do not survive
the trip.
"""

import json
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from moe_course.notebooks.normalise import Notebook
from moe_lib.text_files import read_text, write_bytes
from moe_lib.validation import PathLike, Text, checked

_MARK = re.compile(r"^# %%\s*(?P<markdown>\[markdown\])?\s*(?:tags=(?P<tags>\[[^\]]*\]))?\s*$")
_QUOTES = ('"""', 'r"""')


@checked
def from_script(script: Text) -> nbformat.NotebookNode:
    """The notebook that a script describes. ValueError names the line that cannot be read."""
    cells = []
    for number, line in enumerate(script.splitlines(), start=1):
        mark = _MARK.match(line)
        if mark:
            cells.append((bool(mark["markdown"]), _tags(mark["tags"], number), []))
        elif line.startswith("# %%"):
            raise ValueError(
                f"line {number}: got {line!r}; wants '# %%', '[markdown]' and 'tags=[…]' in "
                "this order"
            )
        elif cells:
            cells[-1][2].append(line)
        elif line.strip():
            raise ValueError(f"line {number}: text before the first '# %%'")
    return new_notebook(cells=[_cell(*cell) for cell in cells])


def _tags(text: str | None, number: int) -> list[str]:
    wrong = f"line {number}: tags {text} are not a list of strings"
    try:
        tags = json.loads((text or "[]").replace("'", '"'))
    except json.JSONDecodeError as error:
        raise ValueError(wrong) from error
    if not all(isinstance(tag, str) for tag in tags):
        raise ValueError(wrong)
    return tags


def _cell(is_markdown: bool, tags: list[str], lines: list[str]) -> nbformat.NotebookNode:
    source = "\n".join(lines).strip("\n")
    metadata = {"tags": tags} if tags else {}
    if not is_markdown:
        if "solution" in tags:
            metadata["jupyter"] = {"source_hidden": True}
        return new_code_cell(source, metadata=metadata)
    body = source.split("\n")
    if body[0].strip() in _QUOTES and body[-1].strip() == '"""':
        return new_markdown_cell("\n".join(body[1:-1]), metadata=metadata)
    return new_markdown_cell(
        "\n".join(re.sub("^# ?", "", line) for line in body), metadata=metadata
    )


@checked
def to_script(notebook: Notebook) -> str:
    """The script of a notebook: sources and tags, no outputs."""
    parts = []
    for cell in notebook.cells:
        kind = " [markdown]" if cell.cell_type == "markdown" else ""
        tags = cell.metadata.get("tags", [])
        mark = f"# %%{kind}" + (f" tags={json.dumps(list(tags))}" if tags else "")
        source = cell.source
        if kind:
            source = "\n".join(f"# {line}".rstrip() for line in source.split("\n"))
        parts.append(f"{mark}\n{source}\n")
    return "\n".join(parts)


@checked
def convert_script(script_path: PathLike, notebook_path: PathLike) -> None:
    """Write the notebook of a script file, without outputs: run it next."""
    script = read_text(Path(script_path))
    try:
        notebook = from_script(script)
    except ValueError as error:
        raise ValueError(f"{script_path}: {error}") from error
    write_bytes(Path(notebook_path), nbformat.writes(notebook).encode("utf-8"))
