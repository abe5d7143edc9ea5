"""Every rule of the contract passes on a good notebook and fires on one that breaks it, and on that
alone."""

import sys
import types

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from moe_course.checks.comparisons import NotYet, expect_answer
from moe_course.checks.exercises import run_check
from moe_course.notebooks import contract
from moe_course.notebooks import normalise as form
from moe_course.notebooks.rehearsal import rehearse

HEADER = """# 03 The transformer

| | |
|---|---|
| Minutes in class | 60 |
| Computer time | measured: 20 s CPU |
| Needs | 02 |
| You will be able to | pass |"""
HINTS = "<details><summary>Hint</summary>x</details>" * 2


def check_of(name, answer):
    def must_be_two(function):
        if expect_answer(function(1), "f(1)") != 2:
            raise NotYet("f(1) should be 2")

    return run_check(name, must_be_two, answer)


def exercise_cells(k, bug_hunt=False):
    card = f"### Exercise 03.{k}: t\n**Difficulty ●○○ · 10 minutes**\n{HINTS}"
    body = "return x" if bug_hunt else "raise NotImplementedError"
    tags = ["exercise", "bug-hunt"] if bug_hunt else ["exercise"]
    solution = f'def g{k}(x):\n    return x + 1\n\ncheck("03.{k}", g{k}).assert_passed()'
    return [
        new_markdown_cell(card, metadata={"tags": ["exercise-card"]}),
        new_code_cell(f"def f{k}(x):\n    {body}", metadata={"tags": tags}),
        new_code_cell(f'check("03.{k}", f{k})', metadata={"tags": ["check"]}),
        new_code_cell(
            solution, metadata={"tags": ["solution"], "jupyter": {"source_hidden": True}}
        ),
    ]


def good():
    picture = new_output(
        "display_data", {"image/png": "AAAA", "text/plain": "A line that goes up and up."}
    )
    cells = [
        new_markdown_cell(HEADER),
        new_code_cell("show()", outputs=[picture]),
        new_code_cell("y = 1", metadata={"tags": ["setup"]}),
        *exercise_cells(1),
        *exercise_cells(2),
        *exercise_cells(3, bug_hunt=True),
        new_code_cell('quiz("03")'),
        new_markdown_cell("## What DeepSeek-V2 does\n## Limits\n## Reading"),
    ]
    codes = [cell for cell in cells if cell.cell_type == "code"]
    for count, cell in enumerate(codes, start=1):
        cell.execution_count = count
    return new_notebook(cells=cells)


def output(kind="display_data", **data):
    return new_output(kind, {key.replace("_", "/"): value for key, value in data.items()})


BREAKAGES = {
    "not '# 03 …'": lambda nb: set_source(nb, 0, HEADER.replace("# 03", "# 04")),
    "no row 'Needs'": lambda nb: set_source(nb, 0, HEADER.replace("Needs", "Wants")),
    "no measured time": lambda nb: set_source(nb, 0, HEADER.replace("20", "…")),
    "more than 150": lambda nb: set_source(nb, 0, HEADER.replace("20", "400")),
    "cold open": lambda nb: nb.cells[1].update(outputs=[]),
    "was not executed": lambda nb: nb.cells[-2].update(execution_count=None),
    "do not run from 1": lambda nb: nb.cells[2].update(execution_count=40),
    "has 41 lines": lambda nb: set_source(nb, 2, "\n".join(["y = 1"] * 41)),
    "uses 'sys.path'": lambda nb: set_source(nb, 2, "import sys\nsys.path.append('x')"),
    "uses '%pip'": lambda nb: set_source(nb, 2, "%pip install x"),
    "uses '!pip'": lambda nb: set_source(nb, 2, "!pip install x"),
    "uses 'filterwarnings'": lambda nb: set_source(nb, 2, "warnings.filterwarnings('ignore')"),
    "path of one machine": lambda nb: set_source(nb, 2, "open('/home/someone/x')"),
    "has a picture without words": lambda nb: set_source(
        nb, -1, nb.cells[-1].source + "\n![](x.png)"
    ),
    "ended in E": lambda nb: nb.cells[2].outputs.append(
        new_output("error", ename="E", evalue="", traceback=[])
    ),
    "wrote to stderr": lambda nb: nb.cells[2].outputs.append(
        new_output("stream", name="stderr", text="W")
    ),
    "a widget without": lambda nb: nb.cells[2].outputs.append(
        new_output("display_data", {form.WIDGET: {}})
    ),
    "path of this machine": lambda nb: nb.cells[2].outputs.append(
        output(text_plain="'/Users/someone/x'")
    ),
    "memory address": lambda nb: nb.cells[2].outputs.append(
        output(text_plain="<f at 0x7f8acb3290d0>")
    ),
    "marked nbval-check-output and shows no text": lambda nb: nb.cells[2].metadata.update(
        tags=["setup", "nbval-check-output"]
    ),
    "shows a picture without words": lambda nb: nb.cells[2].outputs.append(
        output(image_png="AAAA", text_plain="<Figure size 640x480 with 1 Axes>")
    ),
    "HTML image without words": lambda nb: nb.cells[2].outputs.append(
        output(text_html="<img src='x'>")
    ),
    "it has 2 exercises": lambda nb: drop(nb, 3, 7) or renumber(nb),
    "no exercise is tagged 'bug-hunt'": lambda nb: nb.cells[12].metadata.update(tags=["exercise"]),
    "03.2 has no cell tagged ['solution']": lambda nb: nb.cells[10].metadata.update(tags=[]),
    "03.1: its card has fewer": lambda nb: set_source(
        nb, 3, nb.cells[3].source.replace("<details>", "", 1)
    ),
    "03.1: its card lacks": lambda nb: set_source(
        nb, 3, nb.cells[3].source.replace("Difficulty", "")
    ),
    '03.1: its check cell does not call check("03.1", …)': lambda nb: set_source(
        nb, 5, 'check("03.2", f1)'
    ),
    "03.1: its solution does not end": lambda nb: set_source(nb, 6, 'check("03.1", f1)'),
    "03.1: its solution is not folded": lambda nb: nb.cells[6].metadata.pop("jupyter"),
    "it has no quiz": lambda nb: set_source(nb, -2, "y = 2"),
    "no heading names 'limits'": lambda nb: set_source(nb, -1, "## DeepSeek-V2\n## Reading"),
    "it holds widget state": lambda nb: nb.metadata.update(widgets={}),
}


def set_source(notebook, index, source):
    notebook.cells[index].source = source


def drop(notebook, start, stop):
    del notebook.cells[start:stop]


def renumber(notebook):
    count = 0
    for cell in notebook.cells:
        cell.source = cell.source.replace("03.2", "03.1").replace("03.3", "03.2")
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count


def problems(notebook):
    return contract.problems(notebook, "03_transformer_not_on_disk/03_transformer.ipynb")


def test_good_notebook_has_no_problems():
    assert problems(good()) == []


@pytest.mark.parametrize("words", BREAKAGES)
def test_each_breakage_is_found_and_nothing_else(words):
    notebook = good()
    BREAKAGES[words](notebook)
    found = problems(notebook)
    assert len(found) == 1 and words in found[0], found


def test_file_form_and_size(tmp_path):
    path = tmp_path / "03_transformer.ipynb"
    notebook = good()
    notebook.cells[1].outputs = []
    nbformat.write(notebook, path)
    assert any("not normalised" in text for text in contract.form_problems(notebook, path))
    form.write(form.normalise(notebook), path)
    assert contract.form_problems(notebook, path) == []
    notebook.cells[-1].source += "x" * contract.MAX_BYTES
    form.write(form.normalise(notebook), path)
    assert any("more than 1,500,000" in text for text in contract.form_problems(notebook, path))


@pytest.fixture
def checked(monkeypatch):
    """A module that the setup cell can import `check` from."""
    module = types.ModuleType("tests_check")
    module.check = check_of
    monkeypatch.setitem(sys.modules, "tests_check", module)
    notebook = good()
    notebook.cells[2].source = "from tests_check import check"
    return notebook


def test_rehearsal_tells_stub_bug_and_solution_apart(checked):
    results = rehearse(checked)
    assert [result.exercise for result in results] == ["03.1", "03.2", "03.3"]
    assert [result.stub.status for result in results] == [
        "not attempted",
        "not attempted",
        "not yet",
    ]
    assert all(result.solution.passed for result in results)


def test_rehearsal_sees_a_wrong_solution_and_a_stub_that_passes(checked):
    checked.cells[6].source = checked.cells[6].source.replace("x + 1", "x + 2")
    checked.cells[8].source = "def f2(x):\n    return 2"
    results = rehearse(checked)
    assert results[0].solution.status == "not yet" and results[1].stub.passed


def test_rehearsal_keeps_exercises_apart_and_names_the_cell(checked):
    checked.cells[8].source = "f2 = f1"
    with pytest.raises(NameError, match="f1"):
        rehearse(checked)
    with pytest.raises(ValueError, match="imports check"):
        rehearse(good())
