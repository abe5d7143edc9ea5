"""Installs the requirements with uv, as pip is configured, or with pip; shows one live line."""

import ast
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from moe_course.setup.failures import DISK_FULL, NO_NETWORK, explain, last_line
from moe_course.setup.folders import cleaned_environ, environment_python

LOG = "install.log"
PIP = "-m pip install --no-input --no-color --disable-pip-version-check --progress-bar=off".split()
# uv knows these by pip's names, and takes each once for every value.
LISTS = "index-url extra-index-url find-links constraint trusted-host no-binary only-binary".split()
FLAGS = {"no-index": "--no-index", "no-cache-dir": "--no-cache", "pre": "--prerelease=allow"}
VARIABLES = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "timeout": "UV_HTTP_TIMEOUT"}


def pip_settings(listing: str) -> dict[str, str]:
    """pip's settings for an installation, from what `pip config list` prints."""
    found = {}
    for section in ("global", "install", ":env:"):  # a later one overrides
        for line in listing.splitlines():
            name, is_setting, value = line.partition("=")
            if is_setting and name.startswith(section + "."):
                name = name.removeprefix(section + ".").removeprefix("default-")
                found[name] = str(ast.literal_eval(value))
    return found


def uv_settings(settings: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """uv's options and environment variables for pip's settings."""
    # pip takes the best version of all its indexes; uv, left alone, that of the first that has any.
    options = ["--index-strategy", "unsafe-best-match"]
    for name in LISTS:
        values = settings.get(name, "").replace("," if "binary" in name else "\n", " ").split()
        options += [f"--{name}={value}" for value in values]
    no = ("", "0", "false", "no", "off", "n", "f")
    options += [flag for name, flag in FLAGS.items() if settings.get(name, "").lower() not in no]
    return options, {VARIABLES[name]: settings[name] for name in VARIABLES if name in settings}


class LiveLine:
    """What is going on, and for how long, rewritten in place; in a file, a line now and then."""

    def __init__(self, stream=None, every: float = 10.0, clock=time.monotonic):
        self.stream, self.every, self.clock = stream or sys.stdout, every, clock
        self.start, self.last_shown, self.last_text = clock(), -every, ""

    def show(self, text: str) -> None:
        now = self.clock()
        line = f"  {int(now - self.start):4d} s  {text}" if text else ""
        if self.stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r" + line[:width].ljust(width) + ("" if text else "\r"))
        elif text and text != self.last_text and now - self.last_shown >= self.every:
            self.stream.write(line + "\n")
            self.last_text, self.last_shown = text, now
        self.stream.flush()


def run_quietly(command: list[str], **more) -> subprocess.CompletedProcess:
    environ = cleaned_environ(dict(os.environ))
    return subprocess.run(command, capture_output=True, text=True, env=environ, **more)


def follow(command: list[str], venv: Path, line: LiveLine, more=()) -> tuple[int, str]:
    """Run a command beside the environment, showing its last line -> (exit code, what it said)."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    pipes |= {"encoding": "utf-8", "errors": "replace"}
    environ = cleaned_environ(dict(os.environ)) | dict(more)
    process = subprocess.Popen(command, cwd=venv.parent, env=environ, **pipes)
    said, over = [], threading.Event()

    def tick() -> None:  # so that the elapsed time goes on while the command is silent
        while not over.wait(0.2):
            news = (text.strip() for text in reversed(said) if not text.startswith("WARNING"))
            line.show(next(filter(None, news), "starting"))

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        with open(venv / LOG, "a", encoding="utf-8") as log:
            for heard in process.stdout:
                said.append(heard)
                log.write(heard)
        return process.wait(), "".join(said)
    except BaseException:  # Ctrl-C too: the installer does not outlive us
        process.terminate()
        process.wait()
        raise
    finally:
        over.set()
        ticking.join()
        line.show("")


def install(venv: Path, line: LiveLine, announce=print) -> None:
    """Install requirements.txt, which lies beside the environment, into it.

    Raises SetupError if that fails; its `unchanged` is True if the environment is as it was.
    """
    python = str(environment_python(venv))
    code, said = follow([python, *PIP, "-c", "constraints.txt", "uv"], venv, line)
    before = packages(venv)
    if code == 0:
        # Not followed: an index's address may hold a password, which belongs in no log.
        listing = run_quietly([python, "-m", "pip", "config", "list"]).stdout
        options, variables = uv_settings(pip_settings(listing))
        uv = [python, "-m", "uv", "pip", "install", "--python", python, *options]
        code, said = follow([*uv, "-r", "requirements.txt"], venv, line, variables)
    if code and not DISK_FULL.search(said) and not NO_NETWORK.search(said):
        announce(f"Without uv ({last_line(said)}): pip installs, which takes longer.")
        code, said = follow([python, *PIP, "-r", "requirements.txt"], venv, line)
    if code:
        error = explain(said, venv, f"(Details: {venv / LOG})")
        error.unchanged = packages(venv) == before and not DISK_FULL.search(said)
        raise error


def packages(venv: Path) -> set[str]:
    """What lies beside one another in an environment's folder of packages."""
    folders = (*venv.glob("lib/python*/site-packages"), *venv.glob("Lib/site-packages"))
    return {name for folder in folders for name in os.listdir(folder)}
