"""Give an executed notebook one written form, so that running it again changes only what
differs."""

import hashlib
import json
import re
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import nbformat
from PIL import Image, UnidentifiedImageError

from moe_lib.errors import require
from moe_lib.text_files import parse_json, path_of, read_text, write_bytes
from moe_lib.validation import Block, NonNegative, PathLike, Text, checked

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
WIDGET = "application/vnd.jupyter.widget-view+json"
MEASURED = re.compile(r"measured: (?:…|\d+) s CPU")

_KEPT_METADATA = {"tags", "jupyter", "slideshow"}
_PROGRESS = re.compile(r"\d+%\||\d+it \[|it/s")
_EMBEDDED_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")


def _fault(cells: object) -> str:
    """What keeps these from being the cells of a notebook; empty if nothing does."""
    if not isinstance(cells, list):
        return "a list of cells"
    for number, cell in enumerate(cells):
        fields = {"cell_type": str, "source": str, "metadata": dict}
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            fields["outputs"] = list
        for name, kind in fields.items():
            if not isinstance(cell, dict) or not isinstance(cell.get(name), kind):
                return f'cell {number}: wants a "{name}" of type {kind.__name__}'
    return ""


def _node(value: object) -> nbformat.NotebookNode:
    if not isinstance(value, nbformat.NotebookNode):
        raise TypeError
    return value


Notebook = Annotated[
    Any,
    Block(
        "a notebook (nbformat.NotebookNode) whose cells have a type, a source and metadata",
        _node,
        lambda notebook: not _fault(notebook.get("cells")),
    ),
]


@checked
def normalise(notebook: Notebook) -> nbformat.NotebookNode:
    """Bring `notebook` into the written form, in place, and return it. Doing it twice changes
    nothing more.

    Raises nbformat.ValidationError if the result is not a valid notebook.
    """
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    seen: dict[str, int] = {}
    count = 0
    for cell in notebook.cells:
        cell.source = "\n".join(line.rstrip() for line in cell.source.strip("\n").split("\n"))
        cell.metadata = nbformat.from_dict(_tidy_metadata(cell.metadata))
        cell["id"] = _cell_id(cell, seen)
        if cell.cell_type == "code":
            cell.outputs = _tidy_outputs(cell.outputs)
            if cell.execution_count is not None:
                count += 1
                cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    nbformat.validate(notebook)
    return notebook


@checked
def dumps(notebook: Notebook) -> str:
    """The text of a notebook file: sorted keys, one-space indent, UTF-8 letters, one newline at the
    end."""
    rows = nbformat.v4.rwbase.split_lines(nbformat.from_dict(json.loads(json.dumps(notebook))))
    return json.dumps(rows, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


@checked
def write(notebook: Notebook, path: PathLike) -> None:
    """Write the notebook with the same bytes on every system. A full disk or a kill leaves the old
    file; an OSError names it."""
    write_bytes(Path(path), dumps(notebook).encode("utf-8"))


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook. FileNotFoundError or ValueError names a file that is missing or none."""
    path = path_of("path", path)
    content = parse_json(read_text(path), path)
    wants = "not a notebook; wants JSON with a list of cells"
    if not isinstance(content, dict) or "nbformat" not in content:
        raise ValueError(f"{path}: {wants}")
    try:
        notebook = nbformat.reads(json.dumps(content), as_version=4)
    except Exception as error:  # of a damaged notebook nbformat raises whatever its parts do
        raise ValueError(f"{path}: {wants} ({str(error)[:100]})") from error
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise ValueError(f"{path}: {wants}")
    if fault := _fault(cells):
        raise ValueError(f"{path}: {fault}")
    return notebook


@checked
def record_cpu_seconds(notebook: Notebook, seconds: NonNegative, previous: Text = "") -> None:
    """Write `seconds` where the first cell says "measured: … s CPU".

    previous: the first cell as it was committed; its number stays if it is within 25 % of the new
    one.
    """
    require(len(notebook.cells) > 0, "notebook", "one without cells", "a first cell, the header")
    new = max(1, round(seconds))
    old = re.search(r"measured: (\d+) s CPU", previous or notebook.cells[0].source)
    if old and abs(new - int(old[1])) <= max(1, 0.25 * int(old[1])):
        new = int(old[1])
    notebook.cells[0].source = MEASURED.sub(f"measured: {new} s CPU", notebook.cells[0].source)


def _tidy_metadata(metadata: dict) -> dict:
    kept = {
        key: dict(value) if key == "jupyter" else value
        for key, value in metadata.items()
        if key in _KEPT_METADATA
    }
    kept.get("jupyter", {}).pop("outputs_hidden", None)
    return {key: value for key, value in kept.items() if value}


def _cell_id(cell: nbformat.NotebookNode, seen: dict[str, int]) -> str:
    # The measured time is left out, so that the header keeps its id when the time changes.
    text = cell.cell_type + MEASURED.sub("", cell.source)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _tidy_outputs(outputs: list) -> list:
    tidy: list = []
    for output in outputs:
        if _is_progress(output):
            continue
        if (
            output.output_type == "stream"
            and tidy
            and tidy[-1].output_type == "stream"
            and tidy[-1].name == output.name
        ):
            tidy[-1].text += output.text  # where a stream is cut depends on the clock
            continue
        if "data" in output:
            _tidy_data(output)
        tidy.append(output)
    for output in tidy:
        if output.output_type == "stream":
            output.text = "\n".join(line.split("\r")[-1] for line in output.text.split("\n"))
    return tidy


def _is_progress(output) -> bool:
    """A progress bar says nothing once the work is done."""
    if output.output_type == "stream":
        return output.name == "stderr" and all(
            _PROGRESS.search(part)
            for part in re.split(r"[\r\n]", output.text)
            if part.strip("\x1b[A ")
        )
    return WIDGET in output.get("data", {}) and bool(
        _PROGRESS.search(output.data.get("text/plain", ""))
    )


def _tidy_data(output) -> None:
    data = output.data
    if WIDGET in data and ("image/png" in data or "text/html" in data):
        del data[WIDGET]
    if "image/svg+xml" in data and "image/png" in data:
        # A page that is not trusted would tear the words out of an SVG within HTML.
        data.pop("text/html", None)
    if "image/png" in data:
        data["image/png"] = shrink_png(data["image/png"])
    if isinstance(data.get("text/html"), str):
        data["text/html"] = _EMBEDDED_PNG.sub(
            lambda found: "data:image/png;base64," + shrink_png(found[1]), data["text/html"]
        )
    alts = {
        kind: {"alt": about["alt"]}
        for kind, about in output.metadata.items()
        if isinstance(about, dict) and "alt" in about
    }
    output.metadata = nbformat.from_dict(alts)


@checked
def shrink_png(encoded: Text) -> str:
    """A PNG (base64) with a palette of at most 256 colours and no metadata; what is small already
    stays."""
    encoded = "".join(encoded.split())
    try:
        picture = Image.open(BytesIO(b64decode(encoded)), formats=["PNG"])
    except (UnidentifiedImageError, ValueError) as error:  # no PNG, or not even base64
        raise ValueError("an image/png output holds no PNG: run the notebook again") from error
    if picture.mode == "P" and not picture.info:
        return encoded
    if picture.mode in ("RGBA", "LA", "PA") and picture.convert("RGBA").getextrema()[3][0] < 255:
        small = picture.convert("RGBA").quantize(256, method=Image.Quantize.FASTOCTREE)
    else:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.info.clear()
    buffer = BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    if len(buffer.getvalue()) >= len(b64decode(encoded)) and not picture.info:
        return encoded
    return b64encode(buffer.getvalue()).decode("ascii")
