"""The verbs of course.py: each is a module that the environment's Python runs."""

import os
import signal
import subprocess
import sys

from moe_course.setup.environment import ensure_environment
from moe_course.setup.failures import SetupError
from moe_course.setup.folders import ROOT, cleaned_environ

VERBS = {
    "lab": "moe_course.lab",
    "test": "moe_course.suite",
    "models": "moe_lib.fetching",
    "doctor": "moe_course.doctor",
}

USAGE = """usage: course.py VERB [arguments that are passed on]
  lab      set up if needed, then open JupyterLab on the first notebook; arguments go to JupyterLab
  test     set up if needed, then run everything: style, tests, notebooks, browser;
           with arguments, run pytest with these instead
  models   set up if needed, then fetch the two real models of the later chapters (180 MB)
  doctor   say what is there (Python, torch, device, memory, browser) and what to do about the rest
The first start installs everything into the folder .venv and takes minutes; later ones seconds."""


def run_until_it_ends(command: list[str]) -> int:
    """Run a program that handles Ctrl-C by itself, and pass a request to terminate on to it."""
    process = subprocess.Popen(command, cwd=ROOT, env=cleaned_environ(dict(os.environ)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the program as well
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


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
        # The doctor also looks at an environment that is not complete, or not there.
        python = sys.executable if verb == "doctor" else ensure_environment()
        return run_until_it_ends([str(python), "-m", VERBS[verb], *rest])
    except SetupError as error:
        print(f"course.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next start goes on; what was downloaded is kept.", file=sys.stderr)
        return 130
