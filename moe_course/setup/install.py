"""Runs pip and shows one live line meanwhile; the whole of pip's output goes to
.venv/install.log."""

import os
import queue
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from moe_course.setup.errors import SetupError, explain_pip_failure, says_disk_full
from moe_course.setup.places import cleaned_environ, environment_python, install_log
from moe_course.setup.progress import LiveLine, PipProgress, count_installed


@dataclass(frozen=True)
class Outcome:
    """How an installation ended.

    Attributes:
        failure: None if it went well.
        nothing_changed: True if pip failed before it began to unpack, so that the environment is as
        it was.
    """

    failure: SetupError | None = None
    nothing_changed: bool = False


def pip_command(venv: Path, pip_version: tuple[int, ...]) -> list[str]:
    """The command that installs the requirements.

    `--progress-bar raw` prints how much of a download has come, as plain numbers; pip has it since
    24.1.
    """
    bar = "raw" if pip_version >= (24, 1) else "off"
    python = str(environment_python(venv))
    options = ["--no-input", "--no-color", "--disable-pip-version-check", "--progress-bar", bar]
    return [python, "-m", "pip", "install", *options, "-r", "requirements.txt"]


def pip_version(venv: Path) -> tuple[int, ...]:
    """The first two numbers of the environment's pip; (0,) if it does not say."""
    said = subprocess.run(
        [str(environment_python(venv)), "-m", "pip", "--version"],
        capture_output=True,
        text=True,
        env=cleaned_environ(dict(os.environ)),
    ).stdout.split()
    try:
        return tuple(int(part) for part in said[1].split(".")[:2])
    except (IndexError, ValueError):
        return (0,)


def run_pip(root: Path, venv: Path, line: LiveLine | None = None) -> Outcome:
    """Install requirements.txt into the environment, showing progress.

    Returns how it ended; what pip printed is in the log. Ctrl-C stops pip and is passed on.
    """
    line = line or LiveLine()
    progress = PipProgress()
    with open(install_log(venv), "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            pip_command(venv, pip_version(venv)),
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=cleaned_environ(dict(os.environ)),
        )
        try:
            said = _follow(process, venv, line, progress, log)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            line.close()
    if process.returncode == 0:
        return Outcome()
    failure = explain_pip_failure(said, venv, install_log(venv))
    return Outcome(failure, nothing_changed=not progress.to_install and not says_disk_full(said))


def _follow(
    process: subprocess.Popen, venv: Path, line: LiveLine, progress: PipProgress, log
) -> str:
    """Read pip's output to its end; returns it without the progress numbers."""
    lines: queue.Queue[str | None] = queue.Queue()
    # A thread reads, so that the elapsed time goes on while pip is silent.
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    said, installed_before = [], count_installed(venv)
    while True:
        try:
            text = lines.get(timeout=0.2)
        except queue.Empty:
            text = ""
        if text is None:
            process.wait()
            return "".join(said)
        if text:
            progress.feed(text)
            if not text.startswith("Progress "):
                said.append(text)
                log.write(text)
                log.flush()
        unpacked = count_installed(venv) - installed_before if progress.to_install else 0
        if lines.empty():
            line.show(progress.status(unpacked))


def _read_lines(stream, lines: queue.Queue) -> None:
    for text in stream:
        lines.put(text)
    lines.put(None)
