"""Makes the virtual environment, or finds that it is complete, or repairs it."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

from moe_course.setup.failures import NO_VENV, SetupError, explain, last_line
from moe_course.setup.folders import ROOT, course_command, environment_python
from moe_course.setup.install import LiveLine, follow, install, run_quietly

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

# Measured on Linux with the CPU build of torch: 2.2 GB of environment; downloads come on top.
SPACE_FOR_ALL, SPACE_FOR_UPDATE = 4 * 10**9, 10**9
READY, UPDATE, REMAKE = "ready", "update", "remake"
# The stamp says that an environment is complete, and for what it was made: it is written last, in
# one step. The other file says that an installation has begun and not ended.
STAMP, UNFINISHED = "course-stamp.json", "install.unfinished"
SETTINGS = "moe_course/setup/jupyterlab_settings"
HASHED = "requirements.txt constraints.txt".split()
HASHED += [f"{SETTINGS}/moe_course.json", f"{SETTINGS}/pyproject.toml"]
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def wanted_stamp(root: Path) -> list[str]:
    """[hash of all that decides what gets installed, Python, folder]: these make an environment."""
    digest = hashlib.sha256()
    for name in HASHED:
        digest.update((root / name).read_bytes().replace(b"\r\n", b"\n") + b"\0")
    # Of this file only the packaging counts. Above, line ends do not: Git may have rewritten them.
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [project.get("project"), project.get("tool", {}).get("setuptools")]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return [digest.hexdigest(), THIS_PYTHON, str(root)]


def read_stamp(venv: Path) -> list[str] | None:
    """The stamp of an environment; None where there is none or it cannot be read."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, list) and len(stamp) == 3 else None


def python_works(venv: Path) -> bool:
    """True if the environment's Python starts, is the version that runs this, and has pip."""
    question = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        said = run_quietly([str(environment_python(venv)), "-c", question], timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.returncode == 0 and said.stdout.strip() == THIS_PYTHON


def judge(venv: Path, wanted: list[str]) -> tuple[str, str]:
    """What has to be done about an environment (READY, UPDATE or REMAKE), and why, in words."""
    if not os.path.lexists(venv):
        return REMAKE, "First start: making the course's own environment in .venv."
    if (venv / UNFINISHED).exists():
        return REMAKE, "The last installation was interrupted: making the environment again."
    if not python_works(venv):
        return REMAKE, f"The .venv does not work with Python {THIS_PYTHON}: making it again."
    stamp = read_stamp(venv)
    if stamp is None:
        return UPDATE, "This .venv was not completed by course.py: installing what it lacks."
    if stamp[1:] != wanted[1:]:
        return REMAKE, "The .venv was made in another folder or by another Python: making it again."
    if stamp != wanted:
        return UPDATE, "The course's requirements have changed: bringing .venv up to date."
    return READY, ""


def ensure_environment(root: Path = ROOT, announce=print) -> Path:
    """Make sure the environment is there and complete; returns its Python, or raises SetupError."""
    venv = root / ".venv"
    with only_one(root / ".course.lock", announce):
        wanted = wanted_stamp(root)
        action, reason = judge(venv, wanted)
        if action != READY:
            announce(reason)
            try:
                _bring_about(action, root, venv, announce)
                (venv / "stamp.new").write_text(json.dumps(wanted), encoding="utf-8")
                os.replace(venv / "stamp.new", venv / STAMP)
            except OSError as error:
                raise explain(str(error), venv, "") from error
            announce("The environment is complete. The next start takes seconds.")
    return environment_python(venv)


def _bring_about(action: str, root: Path, venv: Path, announce) -> None:
    line = LiveLine()
    if action == REMAKE:
        check_can_make(venv)
        shutil.rmtree(venv) if os.path.isdir(venv) and not venv.is_symlink() else venv.unlink(True)
    check_space(root, SPACE_FOR_ALL if action == REMAKE else SPACE_FOR_UPDATE)
    venv.mkdir(exist_ok=True)
    (venv / STAMP).unlink(missing_ok=True)
    (venv / UNFINISHED).write_text("The next start makes the environment again.", "utf-8")
    if action == REMAKE:
        make_venv(venv, line)
    try:
        install(venv, line, announce)
    except SetupError as error:
        if getattr(error, "unchanged", False):
            (venv / UNFINISHED).unlink()
        raise
    (venv / UNFINISHED).unlink()
    check_imports(venv, line)


def check_can_make(venv: Path) -> None:
    """Debian and Ubuntu split venv off: it may be there, and ensurepip, which it needs, may not."""
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        raise SetupError(NO_VENV)
    if venv.exists() and Path(sys.prefix).resolve() == venv.resolve():
        raise SetupError(
            "The environment has to be made again, and this Python is the one inside it: "
            f"type `deactivate`, then `{course_command('lab')}`."
        )


def check_space(root: Path, needed: int) -> None:
    """Look for room before, here and where downloads are unpacked."""
    for folder, wanted in ((root, needed), (tempfile.gettempdir(), SPACE_FOR_UPDATE)):
        if (free := shutil.disk_usage(folder).free) < wanted:
            raise SetupError(
                f"The disk is too full: {folder} has {free / 1e9:.1f} GB free and the installation "
                f"needs about {wanted / 1e9:.0f} GB there. Free some space, then start again."
            )


def make_venv(venv: Path, line: LiveLine) -> None:
    # A Python inside an environment makes another one that points to the same installation.
    python = getattr(sys, "_base_executable", None) or sys.executable
    code, said = follow([python, "-m", "venv", str(venv)], venv, line)
    if code:
        missing = "ensurepip" in said or "No module named venv" in said
        raise SetupError(NO_VENV) if missing else explain(said, venv, "")


def check_imports(venv: Path, line: LiveLine) -> None:
    """Installed is not yet working: a missing system library shows only when torch is imported."""
    code = "import torch, jupyterlab, ipykernel, ipywidgets, moe_lib"
    failed, said = follow([str(environment_python(venv)), "-c", code], venv, line)
    if failed:
        raise SetupError(
            f"Everything is installed, but it does not start: {last_line(said)} "
            f"(If the next start says the same, delete the folder {venv} and start once more.)"
        )


def _try_lock(descriptor: int) -> bool:
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


@contextmanager
def only_one(path: Path, announce=print, pause: float = 0.5):
    """Hold the lock file `path`, which the system frees when its process ends, however it ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        why = f"Cannot write in {path.parent} ({error.strerror})"
        raise SetupError(f"{why}: copy the course to a folder of your own.") from error
    try:
        if not _try_lock(descriptor):
            announce("Another start of the course is setting it up; waiting (Ctrl-C to leave).")
            while not _try_lock(descriptor):
                time.sleep(pause)
        yield
    finally:
        os.close(descriptor)
