"""What every notebook of the course must hold, as functions that list what is missing, in words.

`problems(notebook, path)` runs them all. Each rule takes a notebook and returns a list of
sentences.
"""

import ast
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import nbformat

from moe_course.chapters import Chapter, find_chapter
from moe_course.notebooks import normalise as form
from moe_course.notebooks.normalise import Notebook
from moe_course.pictures import MIN_WORDS
from moe_lib.errors import refusal
from moe_lib.validation import PathLike, Text, checked

MAX_BYTES = 1_500_000
MAX_LINES = 40
MAX_CPU_SECONDS = 150  # 75 s on two cores
FORBIDDEN = (
    "sys.path",
    "%pip",
    "!pip",
    "!conda",
    "filterwarnings",
    "simplefilter",
    "%config",
    "raises-exception",
)
HEADER_ROWS = ("Minutes in class", "Computer time", "Needs", "You will be able to")
SAME_EVERYWHERE = "nbval-check-output"  # nbval compares the output of cells with this tag
LAST_SECTIONS = ("DeepSeek-V2", "limits", "reading")
_PATHS = re.compile(r"(?:/home/|/Users/|/root/|/tmp/|/private/var/|\b[A-Z]:\\)\w+")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")


@checked
def problems(notebook: Notebook, path: PathLike) -> list[str]:
    """Everything that keeps this notebook out of the course, one sentence each; empty if nothing
    does."""
    path = Path(path)
    chapter = find_chapter(path.stem)
    return [
        *header_problems(notebook, chapter),
        *execution_problems(notebook),
        *form_problems(notebook, path),
        *source_problems(notebook),
        *output_problems(notebook),
        *marking_problems(notebook),
        *picture_problems(notebook),
        *exercise_problems(notebook, chapter),
        *ending_problems(notebook),
    ]


@checked
def tagged(notebook: Notebook, tag: str) -> list[tuple[int, nbformat.NotebookNode]]:
    """The cells with this tag, each with its position."""
    return [
        (i, cell) for i, cell in enumerate(notebook.cells) if tag in cell.metadata.get("tags", [])
    ]


@checked
def code_cells(notebook: Notebook) -> list[tuple[int, nbformat.NotebookNode]]:
    return [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


@checked
def header_problems(notebook: Notebook, chapter: Chapter) -> list[str]:
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        return ["the first cell is not Markdown with the title and the header table"]
    text, found = notebook.cells[0].source, []
    if not text.startswith(f"# {chapter.number} "):
        found.append(f"the first line is not '# {chapter.number} …'")
    found += [
        f"the header table has no row '{row}'" for row in HEADER_ROWS if f"| {row} |" not in text
    ]
    measured = re.search(r"measured: (\d+) s CPU", text)
    if not measured:
        found.append(
            "the header table has no measured time: write 'measured: … s CPU' and run the notebook"
        )
    elif int(measured[1]) > MAX_CPU_SECONDS:
        found.append(f"it took {measured[1]} s of processor time, more than {MAX_CPU_SECONDS}")
    first = code_cells(notebook)[:1]
    if not any(
        "image/png" in output.get("data", {}) or "text/html" in output.get("data", {})
        for _, cell in first
        for output in cell.outputs
    ):
        found.append("the first code cell (the cold open) shows no picture, table or widget")
    return found


@checked
def execution_problems(notebook: Notebook) -> list[str]:
    found = []
    for index, cell in code_cells(notebook):
        if cell.source.strip() and cell.execution_count is None:
            found.append(f"cell {index} was not executed")
    counts = [
        cell.execution_count for _, cell in code_cells(notebook) if cell.execution_count is not None
    ]
    if counts != list(range(1, len(counts) + 1)):
        found.append("execution counts do not run from 1 on: run it from a fresh kernel")
    return found


@checked
def form_problems(notebook: Notebook, path: PathLike) -> list[str]:
    path, found = Path(path), []
    if path.is_file():
        text = path.read_bytes()
        if len(text) > MAX_BYTES:
            found.append(f"it has {len(text):,} bytes, more than {MAX_BYTES:,}")
        if text != form.dumps(form.normalise(form.read(path))).encode("utf-8"):
            found.append("it is not normalised: python -m moe_course normalise " + path.stem[:2])
    if "widgets" in notebook.metadata:
        found.append("it holds widget state")
    return found


@checked
def source_problems(notebook: Notebook) -> list[str]:
    found = []
    for index, cell in enumerate(notebook.cells):
        lines = cell.source.count("\n") + 1
        if cell.cell_type == "code" and lines > MAX_LINES:
            found.append(f"cell {index} has {lines} lines, more than {MAX_LINES}")
        text = cell.source + " ".join(cell.metadata.get("tags", []))
        found += [f"cell {index} uses {word!r}" for word in FORBIDDEN if word in text]
        found += [
            f"cell {index} names a path of one machine: {name}"
            for name in _PATHS.findall(cell.source)
        ]
        if cell.cell_type == "markdown":
            found += [
                f"cell {index} has a picture without words"
                for words, _ in re.findall(r"!\[(.*?)\]\((.*?)\)", cell.source)
                if len(words) < MIN_WORDS
            ]
    return found


@checked
def output_problems(notebook: Notebook) -> list[str]:
    found = []
    machine = [str(Path.home()), tempfile.gettempdir(), str(Path(__file__).resolve().parents[2])]
    machine = [place for place in machine if len(place) > 4]
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"cell {index} ended in {output.ename}")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"cell {index} wrote to stderr: {output.text.strip()[:80]!r}")
            data = output.get("data", {})
            if form.WIDGET in data:
                found.append(
                    f"cell {index} shows a widget without a static picture or HTML beside it"
                )
            text = output.get("text", "") + "".join(
                str(value) for kind, value in data.items() if kind.startswith("text/")
            )
            text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
            if any(place in text for place in machine) or _PATHS.search(text):
                found.append(f"cell {index} shows a path of this machine")
            if _ADDRESS.search(text):
                found.append(f"cell {index} shows a memory address, which changes with every run")
    return found


@checked
def marking_problems(notebook: Notebook) -> list[str]:
    """Cells marked to be compared by nbval, which have no text to compare. (nbval compares no
    PNG.)"""
    found = []
    for index, cell in tagged(notebook, SAME_EVERYWHERE):
        texts = [
            output.get("text") or output.get("data", {}).get("text/plain")
            for output in cell.get("outputs", [])
        ]
        if not any(texts):
            found.append(f"cell {index} is marked {SAME_EVERYWHERE} and shows no text")
    return found


@checked
def picture_problems(notebook: Notebook) -> list[str]:
    found = []
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data or "image/svg+xml" in data or "image/jpeg" in data:
                alt = output.metadata.get("image/png", {}).get("alt", "")
                words = alt or data.get("text/plain", "")
                if len(words) < MIN_WORDS or words.startswith("<"):
                    found.append(
                        f"cell {index} shows a picture without words: use show(figure, alt=…)"
                    )
            html = str(data.get("text/html", ""))
            for image in re.findall(r"<img\b[^>]*>", html):
                alt = re.search(r'alt="([^"]*)"', image)
                if not alt or len(alt[1]) < MIN_WORDS:
                    found.append(f"cell {index} shows an HTML image without words")
    return found


@checked
def check_calls(source: Text) -> list[str]:
    """The exercises that `check("NN.k", …)` calls in this source name, in order.
    ValueError for a source that is not Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:  # ValueError: a zero byte
        raise ValueError(refusal("source", source, f"Python ({error})")) from error
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "check"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]


def _calls_of(cell) -> list[str] | None:
    with suppress(ValueError):  # what is no Python calls nothing
        return check_calls(cell.source)


@checked
def exercises(notebook: Notebook) -> list[dict]:
    """One dictionary per exercise: tag -> (position, cell) for its four cells, and `bug_hunt`, a
    bool."""
    kinds, found = ("exercise-card", "exercise", "check", "solution"), []
    for index, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        for kind in kinds:
            if kind in tags:
                if kind == "exercise-card":
                    found.append({"bug_hunt": False})
                if found:
                    found[-1][kind] = (index, cell)
                    found[-1]["bug_hunt"] |= "bug-hunt" in tags
    return found


@checked
def exercise_problems(notebook: Notebook, chapter: Chapter) -> list[str]:
    found, all_exercises = [], exercises(notebook)
    wanted = 2 if chapter.number == "00" else 3  # the first chapter shows how checks work
    if len(all_exercises) < wanted:
        found.append(f"it has {len(all_exercises)} exercises; wants {wanted} or more")
    if not any(exercise["bug_hunt"] for exercise in all_exercises):
        found.append("no exercise is tagged 'bug-hunt'")
    for number, exercise in enumerate(all_exercises, start=1):
        name = f"{chapter.number}.{number}"
        missing = [kind for kind in ("exercise", "check", "solution") if kind not in exercise]
        if missing:
            found.append(f"exercise {name} has no cell tagged {missing}")
            continue
        card = exercise["exercise-card"][1].source
        if card.count("<details>") < 2:
            found.append(f"exercise {name}: its card has fewer than two folded hints")
        if name not in card or not re.search(r"\d+ minutes", card) or "Difficulty" not in card:
            found.append(f"exercise {name}: its card lacks the number, 'Difficulty' or '… minutes'")
        for kind in ("check", "solution"):
            if _calls_of(exercise[kind][1]) != [name]:
                found.append(
                    f'exercise {name}: its {kind} cell does not call check("{name}", …) once'
                )
        if ".assert_passed()" not in exercise["solution"][1].source:
            found.append(f"exercise {name}: its solution does not end with .assert_passed()")
        if not exercise["solution"][1].metadata.get("jupyter", {}).get("source_hidden"):
            found.append(f"exercise {name}: its solution is not folded")
    return found


@checked
def ending_problems(notebook: Notebook) -> list[str]:
    found = []
    if not any("quiz(" in cell.source for _, cell in code_cells(notebook)):
        found.append("it has no quiz")
    headings = re.findall(
        r"^##+ .*$",
        "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"),
        re.MULTILINE,
    )
    for word in LAST_SECTIONS:
        if not any(word.lower() in heading.lower() for heading in headings):
            found.append(f"no heading names '{word}'")
    return found
