"""course.py tells an old Python that it is old, in one line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

COURSE = Path(__file__).resolve().parents[3] / "course.py"


@pytest.mark.parametrize("version", [(3, 6), (3, 8), (3, 11)])
def test_an_old_python_can_read_the_file(version):
    ast.parse(COURSE.read_text(encoding="utf-8"), feature_version=version)


def test_an_old_python_gets_one_line_and_a_failure():
    pretend = "import sys, runpy; sys.version_info = (3, 9, 1); sys.argv = ['course.py', 'lab']; "
    run = subprocess.run(
        [sys.executable, "-c", pretend + f"runpy.run_path({str(COURSE)!r}, run_name='__main__')"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stdout == ""
    assert len(run.stderr.strip().splitlines()) == 1
    assert "3.11" in run.stderr and "3.9" in run.stderr
