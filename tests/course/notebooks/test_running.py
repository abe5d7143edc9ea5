"""A tiny notebook from script to file: executed, measured, the same bytes twice, and honest about
failure."""

import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from moe_course.__main__ import main
from moe_course.notebooks import normalise as form
from moe_course.notebooks.contract import execution_problems, output_problems, picture_problems
from moe_course.notebooks.execution import NotebookFailed, run_notebook
from moe_course.pictures import show

SCRIPT = """# %% [markdown]
# # 03 Tiny
# | Computer time | measured: … s CPU |
# %%
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import display
from tqdm.auto import tqdm

from moe_course.pictures import show
from moe_course.quizzes.marking import Choice, Question, Quiz

figure, axes = plt.subplots(figsize=(3, 2))
axes.plot([0, 1], [0, 1])
show(figure, alt="A straight line from zero to one.")
# %%
for _ in tqdm(range(3)):
    pass
print(Path("beside.txt").read_text())
Quiz((Question("Which?", (Choice("a", "Yes.", True), Choice("b", "No."))),))
"""


def test_runs_in_its_own_folder_and_gives_the_same_bytes_twice(tmp_path):
    (tmp_path / "beside.txt").write_text("found it")
    script, path = tmp_path / "tiny.py", tmp_path / "03_tiny.ipynb"
    script.write_text(SCRIPT, encoding="utf-8")
    assert main(["from-script", str(script), str(path)]) == 0
    run = run_notebook(path, cell_timeout=100)
    assert 0.1 < run.cpu_seconds < 100 and run.wall_seconds > 0.1
    notebook = form.read(path)
    assert f"measured: {max(1, round(run.cpu_seconds))} s CPU" in notebook.cells[0].source
    assert notebook.cells[2].outputs[0].text == "found it\n"
    assert "text/html" in notebook.cells[2].outputs[1].data
    assert not execution_problems(notebook) + output_problems(notebook) + picture_problems(notebook)
    picture, words = notebook.cells[1].outputs
    assert picture.metadata["image/png"]["alt"] == "A straight line from zero to one."
    assert "A straight line" in words.data["text/html"]
    cells = notebook.cells[1:]
    run_notebook(path, cell_timeout=100)
    assert form.read(path).cells[1:] == cells


@pytest.mark.parametrize(
    "source, timeout, words",
    [
        ("x = 1\n1 / 0", 60, "cell 1: ZeroDivisionError: division by zero"),
        ("import time\ntime.sleep(60)", 1, "cell 1: took longer than 1 s"),
        ("import os\nos._exit(3)", 60, "cell 1: the kernel died"),
    ],
)
def test_failure_names_notebook_cell_and_reason_and_leaves_the_file(
    tmp_path, source, timeout, words
):
    path = tmp_path / "bad.ipynb"
    form.write(new_notebook(cells=[new_markdown_cell("# Bad"), new_code_cell(source)]), path)
    before = path.read_bytes()
    with pytest.raises(NotebookFailed, match=f"bad.ipynb, {words}"):
        run_notebook(path, cell_timeout=timeout)
    assert path.read_bytes() == before


def test_command_line_reports_failure(tmp_path, capsys):
    path = tmp_path / "03_transformer.ipynb"
    form.write(
        new_notebook(cells=[new_markdown_cell("# Bad"), new_code_cell("assert False")]), path
    )
    assert main(["check", str(path)]) == 1
    assert "was not executed" in capsys.readouterr().out
    assert main(["normalise", "nothing"]) == 1
    assert "'nothing'" in capsys.readouterr().err


def test_show_wants_words():
    with pytest.raises(ValueError, match="alt: got 'a plot'"):
        show(Figure(), alt="a plot")
