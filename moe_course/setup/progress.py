"""pip's many lines as one: what it is doing, to which package, for how long."""

import re
import shutil
import sys
import time
from pathlib import Path


class LiveLine:
    """One line that is rewritten in place; where output is a file, a new line now and then.

    Args:
        stream: where to write; standard output by default.
        every: seconds between lines where the output cannot be rewritten.
    """

    def __init__(self, stream=None, every: float = 10.0, clock=time.monotonic):
        self.stream = stream or sys.stdout
        self.in_place = self.stream.isatty()
        self.every = every
        self.clock = clock
        self.start = clock()
        self.last_shown = -every
        self.last_text = ""

    def show(self, text: str) -> None:
        seconds = int(self.clock() - self.start)
        line = f"  {seconds:4d} s  {text}"
        if self.in_place:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r" + line[:width].ljust(width))
        else:
            if text == self.last_text or self.clock() - self.last_shown < self.every:
                return
            self.stream.write(line + "\n")
        self.last_text, self.last_shown = text, self.clock()
        self.stream.flush()

    def close(self) -> None:
        """Wipe the line, so that what is printed next starts on a clean one."""
        if self.in_place:
            self.stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            self.stream.flush()


class PipProgress:
    """Reads pip's output line by line and says in a few words how far it is.

    Attributes:
        text: what pip is doing now.
        to_install: the packages in the order pip unpacks them; empty until it has downloaded them
        all.
    """

    def __init__(self):
        self.text = "starting pip"
        self.to_install: list[str] = []

    def feed(self, line: str) -> None:
        line = line.strip()
        if match := re.match(r"Collecting ([\w.-]+)", line):
            self.text = f"looking up {match[1]}"
        elif match := re.match(r"(Downloading|Using cached) (\S+)(?: \(([^)]+)\))?", line):
            self.text = f"{match[1].lower()} {_package(match[2])}" + (
                f" ({match[3]})" if match[3] else ""
            )
        elif match := re.match(r"Progress (\d+) of (\d+)", line):
            if int(match[2]):
                percent = 100 * int(match[1]) // int(match[2])
                self.text = re.sub(r" \d+ %$", "", self.text) + f" {percent} %"
        elif match := re.match(r"Requirement already satisfied: ([\w.-]+)", line):
            self.text = f"{match[1]} is there already"
        elif match := re.match(
            r"((Installing build|Getting requirements|Preparing|Building)[^(:]*)", line
        ):
            self.text = match[1].strip().lower()
        elif "Retrying (Retry(" in line:
            self.text = "the package index does not answer; trying again"
        elif match := re.match(r"Installing collected packages: (.+)", line):
            self.to_install = [name.strip() for name in match[1].split(",")]

    def status(self, unpacked: int) -> str:
        """What to show, when `unpacked` packages have been unpacked since pip began to install."""
        if not self.to_install:
            return self.text
        total = len(self.to_install)
        at = min(max(unpacked, 0), total - 1)
        return f"installing {self.to_install[at]} ({at + 1} of {total})"


def _package(file_or_url: str) -> str:
    """The name and version in a file name: torch 2.13.0 for torch-2.13.0-cp311-….whl."""
    name = file_or_url.rsplit("/", 1)[-1]
    parts = name.removesuffix(".metadata").removesuffix(".tar.gz").split("-")
    return " ".join(parts[:2])


def count_installed(venv: Path) -> int:
    """Number of packages in an environment, counted by the folders pip leaves beside them."""
    on_unix, on_windows = "lib/python*/site-packages/*.dist-info", "Lib/site-packages/*.dist-info"
    return len({path for pattern in (on_unix, on_windows) for path in venv.glob(pattern)})
