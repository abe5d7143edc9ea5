"""Progress in few words, and one line for each thing that goes wrong."""

import io

import pytest

from moe_course.setup.errors import explain_pip_failure
from moe_course.setup.install import pip_command
from moe_course.setup.progress import LiveLine, PipProgress

NO_NETWORK = """\
WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError("<HTTPSConnection>: \
Failed to establish a new connection: [Errno -3] Temporary failure in name resolution")': /simple/torch/
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)
ERROR: No matching distribution found for torch==2.13.0
"""


@pytest.mark.parametrize(
    "log, words",
    [
        (NO_NETWORK, "No network"),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "disk ran full"),
        ("ERROR: No matching distribution found for torch==2.13.0\n", "no fitting version"),
        ("ERROR: something else\n", "something else"),
        ("", "it said nothing"),
    ],
)
def test_one_line_for_each_failure(log, words):
    message = str(explain_pip_failure(log, "the folder", "install.log"))
    assert words in message
    assert "\n" not in message


def test_progress_follows_pip():
    progress = PipProgress()
    seen = []
    for line in (
        "Collecting torch==2.13.0 (from -r requirements.txt (line 6))",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (202.4 MB)",
        "Progress 50 of 200",
        "Progress 100 of 200",
        "Installing collected packages: numpy, torch",
    ):
        progress.feed(line + "\n")
        seen.append(progress.status(0))
    assert seen == [
        "looking up torch",
        "downloading torch 2.13.0 (202.4 MB)",
        "downloading torch 2.13.0 (202.4 MB) 25 %",
        "downloading torch 2.13.0 (202.4 MB) 50 %",
        "installing numpy (1 of 2)",
    ]
    assert progress.status(1) == progress.status(7) == "installing torch (2 of 2)"


@pytest.mark.parametrize(
    "line, words",
    [
        ("Requirement already satisfied: numpy==2.4.6 in ./lib (2.4.6)", "numpy is there already"),
        ("  Installing build dependencies: started", "installing build dependencies"),
        ("  Preparing editable metadata (pyproject.toml): finished", "preparing editable metadata"),
        (
            "Building wheels for collected packages: moe-lib",
            "building wheels for collected packages",
        ),
    ],
)
def test_progress_of_what_is_there_and_what_is_built(line, words):
    progress = PipProgress()
    progress.feed(line)
    assert progress.status(0) == words


def test_progress_says_when_the_network_does_not_answer():
    progress = PipProgress()
    progress.feed(NO_NETWORK.splitlines()[0])
    assert "does not answer" in progress.status(0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_line_is_rewritten_and_wiped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    line = LiveLine(stream)
    line.show("a" * 100)
    line.show("b")
    line.close()
    assert "\n" not in stream.getvalue()
    assert all(len(part) <= 39 for part in stream.getvalue().split("\r"))
    assert stream.getvalue().endswith("\r" + " " * 39 + "\r")


def test_in_a_file_lines_come_now_and_then():
    now = [0.0]
    line = LiveLine(io.StringIO(), every=10, clock=lambda: now[0])
    for second in range(25):
        now[0] = float(second)
        line.show(f"package {second}")
    assert line.stream.getvalue().splitlines() == [
        "     0 s  package 0",
        "    10 s  package 10",
        "    20 s  package 20",
    ]


def test_only_a_pip_that_knows_raw_progress_is_asked_for_it(tmp_path):
    assert "raw" in pip_command(tmp_path, (24, 1))
    assert "raw" not in pip_command(tmp_path, (23, 2))
