"""Makes the virtual environment, or finds that it is complete, or repairs it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from moe_course.setup.errors import NO_VENV, SetupError, disk_full_message, is_disk_full
from moe_course.setup.install import run_pip
from moe_course.setup.lock import only_one
from moe_course.setup.places import (
    ROOT,
    cleaned_environ,
    course_command,
    environment_python,
    install_log,
)
from moe_course.setup.stamp import (
    Stamp,
    clear_unfinished,
    fingerprint,
    is_unfinished,
    mark_unfinished,
    read_stamp,
    write_stamp,
)

# Measured on Linux with the CPU build of torch: 2.2 GB of environment; pip's downloads come on top.
SPACE_FOR_ALL = 4 * 10**9
SPACE_FOR_UPDATE = 10**9

READY, UPDATE, REMAKE = "ready", "update", "remake"


@dataclass(frozen=True)
class Verdict:
    """What has to be done about an environment, and the reason in words."""

    action: str
    reason: str = ""


def this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def wanted_stamp(root: Path) -> Stamp:
    return Stamp(fingerprint(root), this_python(), str(root))


def python_works(venv: Path) -> bool:
    """True if the environment's Python starts, is the version that runs this, and has pip."""
    question = (
        "import sys, importlib.util as u; print('%d.%d' % sys.version_info[:2], "
        "bool(u.find_spec('pip')))"
    )
    try:
        answer = subprocess.run(
            [str(environment_python(venv)), "-c", question],
            capture_output=True,
            text=True,
            timeout=60,
            env=cleaned_environ(dict(os.environ)),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.split() == [this_python(), "True"]


def judge(venv: Path, wanted: Stamp) -> Verdict:
    """Look at an environment and say what has to be done about it."""
    if not venv.exists() and not venv.is_symlink():
        return Verdict(REMAKE, "First start: making the course's own environment in .venv.")
    if is_unfinished(venv):
        return Verdict(
            REMAKE, "The last installation was interrupted: making the environment again."
        )
    if not python_works(venv):
        return Verdict(
            REMAKE,
            f"The environment in .venv does not work with Python {this_python()}: making it again.",
        )
    stamp = read_stamp(venv)
    if stamp is None:
        return Verdict(
            UPDATE, "There is a .venv that course.py has not completed: installing what it lacks."
        )
    if (stamp.root, stamp.python) != (wanted.root, wanted.python):
        return Verdict(
            REMAKE,
            "The environment was made in another folder or by another Python: making it again.",
        )
    if stamp.fingerprint != wanted.fingerprint:
        return Verdict(
            UPDATE, "The course's requirements have changed: bringing the environment up to date."
        )
    return Verdict(READY)


def ensure_environment(root: Path = ROOT, announce=print) -> Path:
    """Make sure the environment is there and complete; returns its Python.

    Raises:
        SetupError: with one line on what stands in the way.
    """
    venv = root / ".venv"
    with only_one(root / ".course.lock", announce):
        wanted = wanted_stamp(root)
        verdict = judge(venv, wanted)
        if verdict.action != READY:
            announce(verdict.reason)
            try:
                _bring_about(verdict, root, venv, wanted)
            except OSError as error:
                raise _explained(error, venv) from error
            announce("The environment is complete. The next start takes seconds.")
    return environment_python(venv)


def _bring_about(verdict: Verdict, root: Path, venv: Path, wanted: Stamp) -> None:
    if verdict.action == REMAKE:
        check_venv_module()
        check_not_inside(venv)
        remove(venv)
        check_space(root, SPACE_FOR_ALL)
        venv.mkdir()
        mark_unfinished(venv)
        make_venv(venv)
    else:
        check_space(root, SPACE_FOR_UPDATE)
        mark_unfinished(venv)
    outcome = run_pip(root, venv)
    if outcome.failure:
        if outcome.nothing_changed:
            clear_unfinished(venv)
        raise outcome.failure
    clear_unfinished(venv)
    check_imports(venv)
    write_stamp(venv, wanted)


def _explained(error: OSError, venv: Path) -> SetupError:
    if is_disk_full(error):
        return SetupError(disk_full_message(venv))
    if isinstance(error, PermissionError):
        return SetupError(
            f"Not allowed to change {error.filename or venv}: close JupyterLab and other "
            "programs that use "
            "it, or copy the course to a folder of your own."
        )
    return SetupError(f"The environment could not be made: {error}.")


def check_venv_module() -> None:
    """Debian and Ubuntu split venv off: the module may be there and ensurepip, which it needs, may
    not."""
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        raise SetupError(NO_VENV)


def check_not_inside(venv: Path) -> None:
    """An environment cannot be made again by its own Python."""
    if venv.exists() and Path(sys.prefix).resolve() == venv.resolve():
        raise SetupError(
            "The environment has to be made again, and this Python is the one inside it: "
            f"type `deactivate`, then `{course_command('lab')}`."
        )


def check_space(root: Path, needed: int) -> None:
    """Look for room before, because a full disk halfway through helps nobody.

    The system's temporary folder counts too: pip unpacks downloads there.
    """
    free = shutil.disk_usage(root).free
    if free < needed:
        raise SetupError(
            f"The disk is too full: {root} has {free / 1e9:.1f} GB free and the installation "
            "needs about "
            f"{needed / 1e9:.0f} GB. Free some space, then start again."
        )
    temporary = tempfile.gettempdir()
    if shutil.disk_usage(temporary).free < SPACE_FOR_UPDATE:
        raise SetupError(
            f"The temporary folder {temporary} has less than {SPACE_FOR_UPDATE / 1e9:.0f} GB "
            "free and pip "
            "needs that much: free some space there, or set TMPDIR to a roomier folder, then "
            "start again."
        )


def remove(venv: Path) -> None:
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    elif venv.exists():
        shutil.rmtree(venv)


def make_venv(venv: Path) -> None:
    """`python -m venv`, with its complaints told in one line."""
    # A Python inside an environment makes another one that points to the same installation.
    python = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run(
        [python, "-m", "venv", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=cleaned_environ(dict(os.environ)),
    )
    install_log(venv).write_text(made.stdout, encoding="utf-8")
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout or "No module named venv" in made.stdout:
        raise SetupError(NO_VENV)
    if "No space left" in made.stdout:
        raise SetupError(disk_full_message(venv))
    last = (made.stdout.strip().splitlines() or ["it said nothing"])[-1]
    raise SetupError(f"python -m venv failed: {last} (Details: {install_log(venv)})")


def check_imports(venv: Path) -> None:
    """Installed is not yet working: a missing system library shows only when torch is imported."""
    tried = subprocess.run(
        [
            str(environment_python(venv)),
            "-c",
            "import torch, jupyterlab, ipykernel, ipywidgets, moe_lib",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=cleaned_environ(dict(os.environ)),
    )
    if tried.returncode:
        last = (tried.stdout.strip().splitlines() or ["no message"])[-1]
        raise SetupError(
            f"Everything is installed, but it does not start: {last} "
            f"(If the next start says the same, delete the folder {venv} and start once more.)"
        )
