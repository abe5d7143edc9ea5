"""What every command line of ours has in common: one line for an error, and no traceback."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from moe_lib.text_files import read_text

BROKEN_PIPE = 141  # what a shell says of a program whose reader has gone, as `head` does


class Parser(argparse.ArgumentParser):
    """Refuses in one line; `--help` shows the usage."""

    def error(self, message: str):
        self.exit(2, f"error: {message}\n")


def first_paragraph(docstring: str) -> str:
    """What a module's docstring says first, on one line: the description of its command."""
    return " ".join(docstring.split("\n\n")[0].split())


def whole(at_least: int = 1) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `at_least`."""

    def read(given: str) -> int:
        wants = f"a whole number of at least {at_least}"
        if not (given.removeprefix("-").isdecimal() and int(given) >= at_least):
            raise argparse.ArgumentTypeError(f"got {given!r}; wants {wants}")
        return int(given)

    return read


def one_text(given: str) -> str:
    """An argparse type: a text that is not empty. Bytes that are not UTF-8 reach Python as halves
    of a character."""
    if not given:
        raise argparse.ArgumentTypeError("got ''; wants a text that is not empty")
    try:
        given.encode("utf-8")
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"got {ascii(given)}; wants text in UTF-8") from error
    return given


def text_file(given: str) -> str:
    """An argparse type: the text of a UTF-8 file, without a byte order mark.

    Line ends become \\n.
    """
    try:
        text = read_text(Path(given))
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(one_line(error)) from error
    if not text:
        raise argparse.ArgumentTypeError(f"{given}: is empty; wants a text")
    return text


def page(given: str) -> Path:
    """An argparse type: a file that can be written. Its folder need not be there yet."""
    path = Path(given)
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:  # a name too long, a zero byte
        raise argparse.ArgumentTypeError(f"got {given[:50]!r}; wants the name of a file") from error
    if is_folder or (there == path and not path.is_file()):
        what = "folder" if is_folder else "pipe or a device"
        raise argparse.ArgumentTypeError(f"{given}: is a {what}; wants the name of a file")
    if not (there == path or there.is_dir()) or not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{given}: cannot be written in {there}")
    return path


def new_folder(given: str) -> Path:
    """An argparse type: a folder to write into. It need not be there yet."""
    path = Path(given)
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        wrong = given == "" or not there.is_dir()
    except (OSError, ValueError):
        wrong = True
    if wrong:
        raise argparse.ArgumentTypeError(f"got {given[:50]!r}; wants a folder")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{given}: cannot be written in {there}")
    return path


def one_line(error: BaseException) -> str:
    """An error in one line, whatever its message."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command's `main` and return its exit code.

    What it raises of ValueError, TypeError, OSError and ImportError is said in one line. A console
    that cannot write a character writes a question mark; one whose reader has gone ends the
    command quietly.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has none
            stream.reconfigure(errors="replace")
    try:
        code = main()
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
