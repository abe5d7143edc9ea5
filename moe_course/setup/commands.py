"""The verbs of course.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from moe_course.setup.doctor import run_doctor
from moe_course.setup.environment import ensure_environment
from moe_course.setup.errors import SetupError
from moe_course.setup.places import ROOT, cleaned_environ
from moe_course.setup.stages import run_pytest, run_stages

FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"

USAGE = """usage: course.py VERB [arguments that are passed on]

  lab      set up if needed, then open JupyterLab on the first notebook; arguments go to JupyterLab
  test     set up if needed, then run everything: style, tests, notebooks, browser;
           with arguments, run pytest with these instead
  doctor   say what is there (Python, torch, device, memory, browser) and what to do about what is missing

The first start installs everything into the folder .venv and takes minutes; later ones take seconds."""


def lab_arguments(arguments: list[str], root: Path = ROOT, is_root: bool = False) -> list[str]:
    """JupyterLab's arguments: the reader's own, the first notebook unless they name one, root's
    permission.

    JupyterLab's defaults stay: it listens on this machine only and asks for its token.
    """
    ours = []
    names_something = any(
        not argument.startswith("-") and Path(argument).exists() for argument in arguments
    )
    chooses_page = any(
        "default_url" in argument or "root_dir" in argument for argument in arguments
    )
    if (root / FIRST_NOTEBOOK).is_file() and not names_something and not chooses_page:
        ours.append(f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}")
    if is_root and "--allow-root" not in arguments:
        ours.append("--allow-root")
    return [*ours, *arguments]


def lab(arguments: list[str]) -> int:
    python = ensure_environment()
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = [str(python), "-m", "jupyterlab", *lab_arguments(arguments, is_root=is_root)]
    print("Opening JupyterLab. Leave this window open; Ctrl-C here ends it.", flush=True)
    return run_until_it_ends(command)


def run_until_it_ends(command: list[str]) -> int:
    """Run a program that handles Ctrl-C by itself, and pass a request to terminate on to it."""
    process = subprocess.Popen(command, cwd=ROOT, env=cleaned_environ(dict(os.environ)))
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sent it to the program as well, which asks whether to stop.
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def test(arguments: list[str]) -> int:
    python = ensure_environment()
    return run_pytest(python, arguments) if arguments else run_stages(python)


def doctor(arguments: list[str]) -> int:
    if arguments:
        raise SetupError(f"doctor takes no arguments; it got {' '.join(arguments)}.")
    return run_doctor()


VERBS: dict[str, Callable[[list[str]], int]] = {"lab": lab, "test": test, "doctor": doctor}


def run(arguments: list[str]) -> int:
    """Do what the command line asks for; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"There is no verb {verb!r}.\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        return VERBS[verb](rest)
    except SetupError as error:
        print(f"course.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nStopped. The next start goes on from here; what was downloaded is kept.",
            file=sys.stderr,
        )
        return 130
