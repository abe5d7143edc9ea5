"""What is typed after course.py, and what becomes of it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from moe_course import browser, lab
from moe_course.setup import commands
from moe_course.setup.failures import SetupError
from moe_course.setup.folders import cleaned_environ, course_command, environment_python


@pytest.fixture
def calls(monkeypatch):
    """Records what would be run."""
    seen = []
    monkeypatch.setattr(commands, "ensure_environment", lambda: Path("python"))
    monkeypatch.setattr(commands, "run_until_it_ends", lambda command: seen.append(command) or 5)
    return seen


@pytest.mark.parametrize("verb, module", [("lab", "moe_course.lab"), ("test", "moe_course.suite")])
def test_a_verb_is_a_module_of_the_environment_and_gets_the_arguments(calls, verb, module):
    assert commands.run([verb, "--port=9999", "-x"]) == 5
    assert calls == [["python", "-m", module, "--port=9999", "-x"]]


def test_the_doctor_runs_without_an_environment(calls, monkeypatch):
    monkeypatch.setattr(commands, "ensure_environment", lambda: pytest.fail("not for the doctor"))
    assert commands.run(["doctor"]) == 5
    assert calls == [[sys.executable, "-m", "moe_course.doctor"]]


@pytest.mark.parametrize("verb", commands.VERBS)
def test_every_verb_is_in_the_usage_and_its_module_is_there(verb):
    assert f"\n  {verb} " in commands.USAGE
    assert importlib.util.find_spec(commands.VERBS[verb])


@pytest.fixture
def course(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_start_here.ipynb").write_text("{}", encoding="utf-8")
    return tmp_path


def test_lab_opens_the_first_notebook(course):
    assert lab.lab_arguments([], course) == [
        "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"
    ]


def test_lab_opens_what_the_reader_names(course):
    own = str(course / "notebooks" / "00_start_here.ipynb")
    assert lab.lab_arguments([own], course) == [own]
    assert lab.lab_arguments(["--LabApp.default_url=/lab"], course) == ["--LabApp.default_url=/lab"]


@pytest.mark.parametrize("is_root, count", [(True, 1), (False, 0)])
def test_only_root_gets_the_permission_for_root(course, is_root, count):
    assert lab.lab_arguments([], course, is_root=is_root).count("--allow-root") == count
    assert lab.lab_arguments(["--allow-root"], course, is_root=is_root).count("--allow-root") == 1


def test_lab_keeps_the_token_and_this_machine_only(course):
    text = " ".join(lab.lab_arguments([], course, is_root=True))
    assert "token" not in text and "ip" not in text.replace("ipynb", "") and "password" not in text


def test_an_unknown_verb_shows_the_usage(capsys):
    assert commands.run(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err
    assert commands.run([]) == 2
    assert commands.run(["--help"]) == 0


@pytest.mark.parametrize(
    "error, code, words",
    [(SetupError("No network: connect."), 1, "No network"), (KeyboardInterrupt(), 130, "Stopped")],
)
def test_trouble_is_one_line_without_a_traceback(monkeypatch, capsys, error, code, words):
    def trouble():
        raise error

    monkeypatch.setattr(commands, "ensure_environment", trouble)
    assert commands.run(["lab"]) == code
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1


def test_places_on_windows_and_elsewhere():
    venv = Path("course") / ".venv"
    assert environment_python(venv, windows=True) == venv / "Scripts" / "python.exe"
    assert environment_python(venv, windows=False) == venv / "bin" / "python"
    assert course_command("lab", windows=True) == "py course.py lab"
    assert course_command("lab", windows=False) == "python3 course.py lab"


def test_variables_that_redirect_python_are_dropped():
    cleaned = cleaned_environ(
        {"PYTHONPATH": "x", "Pip_Target": "y", "PATH": "z", "PIP_INDEX_URL": "kept"}
    )
    assert "PYTHONPATH" not in cleaned and "Pip_Target" not in cleaned
    assert cleaned["PATH"] == "z" and cleaned["PIP_INDEX_URL"] == "kept"


def test_browsers_of_windows_and_macos_are_looked_for():
    windows = browser.likely_places("win32", {"PROGRAMFILES": "C:/Programs"})
    assert Path("C:/Programs/Google/Chrome/Application/chrome.exe") in windows
    macos = browser.likely_places("darwin", {"HOME": "/Users/me"})
    assert Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome") in macos
    assert browser.likely_places("linux", {}) == []


def test_a_browser_named_by_the_reader_goes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BROWSER", str(tmp_path / "none"))
    assert browser.find_browser() is None
