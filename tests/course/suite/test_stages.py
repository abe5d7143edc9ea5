"""The summary of `course.py test` counts right, and a notebook that was not run is noticed."""

import subprocess
import sys

import nbformat
import pytest

from moe_course.suite.reports import Counts, missing_notebooks, notebook_of, read_report
from moe_course.suite.stages import Result, environ_for_tests, print_summary, pytest_stages, stream

TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert 0
@pytest.mark.skip
def test_skipped(): pass
@pytest.fixture
def broken(): raise ValueError
def test_error(broken): pass
"""


def write_notebook(path, *cells):
    made = [
        nbformat.v4.new_code_cell(text, execution_count=number)
        for number, text in enumerate(cells, start=1)
    ]
    content = nbformat.v4.new_notebook(cells=[*made, nbformat.v4.new_markdown_cell("words")])
    content.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(content, path)


@pytest.fixture(scope="module")
def notebooks_report(tmp_path_factory):
    """A real nbval run over two notebooks, one of which skips its only cell."""
    root = tmp_path_factory.mktemp("run")
    folder = root / "notebooks"
    folder.mkdir()
    write_notebook(folder / "00_whole.ipynb", "x = 1", "x + 1")
    write_notebook(folder / "01_skipped.ipynb", "# NBVAL_SKIP\nx = 1")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-current-env",
    ]
    subprocess.run(
        [*command, "notebooks", f"--junitxml={root / 'r.xml'}"], cwd=root, capture_output=True
    )
    return read_report(root / "r.xml"), folder


def test_a_notebook_that_was_run_whole_is_fine(notebooks_report):
    report, folder = notebooks_report
    assert report.counts == Counts(passed=2, skipped=1)
    assert missing_notebooks(report, ["00_whole.ipynb"], folder) == []


def test_a_listed_notebook_that_was_not_run_is_named(notebooks_report):
    report, folder = notebooks_report
    (folder / "02_uncollected.ipynb").write_text("{}", encoding="utf-8")
    listed = ["00_whole.ipynb", "01_skipped.ipynb", "02_uncollected.ipynb", "03_absent.ipynb"]
    problems = missing_notebooks(report, listed, folder)
    assert [problem.split()[0] for problem in problems] == listed[1:]
    assert missing_notebooks(report, [], folder) == ["the course lists no notebook at all"]


def test_a_notebook_collected_in_part_is_named(notebooks_report):
    report, folder = notebooks_report
    write_notebook(folder / "00_whole.ipynb", "x = 1", "x + 1", "x + 2")
    (problem,) = missing_notebooks(report, ["00_whole.ipynb"], folder)
    write_notebook(folder / "00_whole.ipynb", "x = 1", "x + 1")
    assert "3 code cells and 2" in problem


def test_failures_errors_and_skips_are_counted_apart(tmp_path, capfd):
    (tmp_path / "test_x.py").write_text(TESTS, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--junitxml={tmp_path / 'r.xml'}",
    ]
    code, closing = stream(command, tmp_path, None)
    capfd.readouterr()
    assert code == 1
    assert read_report(tmp_path / "r.xml").counts == Counts(passed=1, failed=2, skipped=1)
    assert len(closing) == 1 and closing[0].startswith("===") and "1 passed" in closing[0]


@pytest.mark.parametrize("content", [None, "", "<testsuites>"])
def test_a_missing_or_broken_report_counts_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "r.xml").write_text(content, encoding="utf-8")
    assert read_report(tmp_path / "r.xml").counts == Counts()


def test_the_summary_ends_with_the_totals_alone_on_a_line(capsys):
    closing = "===== 3 passed in 1.00s ====="
    results = [Result("style", 0.5, Counts(2)), Result("unit", 1.0, Counts(3, 0, 1), [closing])]
    assert print_summary(results) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [closing, "5 passed, 0 failed"]
    assert print_summary([*results, Result("browser", 1.0, Counts(0, 1))]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 1 failed"


def test_the_stages_cover_everything_once(tmp_path):
    stages = dict(pytest_stages(tmp_path))
    assert list(stages) == ["unit", "notebooks", "browser"]
    assert "--ignore=tests/browser" in stages["unit"] and "tests/browser" in stages["browser"]
    assert {"--nbval-current-env", "--nbval-cell-timeout=300", "loadfile"} <= set(
        stages["notebooks"]
    )


def test_tests_run_offline_on_one_thread_each():
    environ = environ_for_tests({"PATH": "p", "MPLBACKEND": "agg", "PYTHONPATH": "x"})
    assert environ["HF_HUB_OFFLINE"] == environ["OMP_NUM_THREADS"] == "1"
    assert "MPLBACKEND" not in environ and "PYTHONPATH" not in environ


@pytest.mark.parametrize(
    "classname, notebook",
    [
        ("notebooks.00_start_here.ipynb", "00_start_here.ipynb"),
        ("tests.setup.test_x", None),
        ("", None),
    ],
)
def test_notebook_of_a_class_name(classname, notebook):
    assert notebook_of(classname) == notebook
