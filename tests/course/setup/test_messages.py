"""Progress in few words, and one line for each thing that goes wrong."""

import io

import pytest

from moe_course.setup.failures import explain
from moe_course.setup.install import LiveLine

NO_NETWORK = """\
WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError("<HTTPSConnection>: \
Failed to establish a new connection: [Errno -3] Temporary failure in name resolution")': /simple/torch/
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)
ERROR: No matching distribution found for torch==2.13.0
"""
UV_NO_NETWORK = """\
error: Request failed after 3 retries
  Caused by: Failed to fetch: `/simple/torch/`
  Caused by: client error (Connect)
  Caused by: dns error: failed to lookup address information: Temporary failure in name resolution
"""


@pytest.mark.parametrize(
    "log, words",
    [
        (NO_NETWORK, "No network"),
        (UV_NO_NETWORK, "No network"),
        ("error: failed to write: No space left on device (os error 28)\n", "disk ran full"),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "disk ran full"),
        (
            "ERROR: No matching distribution found for torch==2.13.0\n",
            "No matching distribution found for torch==2.13.0",
        ),
        ("ERROR: something else\n", "something else"),
        ("", "it said nothing"),
    ],
)
def test_one_line_for_each_failure(log, words):
    message = str(explain(log, "the folder", "install.log"))
    assert words in message
    assert "\n" not in message


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_line_is_rewritten_and_wiped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    line = LiveLine(stream)
    line.show("a" * 100)
    line.show("b")
    line.show("")
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
