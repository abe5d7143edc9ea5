"""Looks at the machine and the installation: what is there, and what to do about what is missing.

python3 course.py doctor, or python -m moe_course.doctor

Needs nothing but Python, so that it can look at an installation that is not there. What has to be
asked of the environment's own Python is asked of it.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moe_course.browser import ADVICE, find_browser
from moe_course.setup import environment
from moe_course.setup.failures import NO_VENV
from moe_course.setup.folders import ROOT, cleaned_environ, course_command, environment_python
from moe_lib.console import run_command

MEMORY_WANTED = 4 * 10**9
INSTALL = "run `pip install -r requirements.txt` in the course's folder"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: what was looked at, such as "torch".
        value: what was found, in words.
        ok: True if the course can work with it.
        advice: what to do about it; empty if nothing is to be done.
        where: the file or folder it was found in, if there is one.
    """

    name: str
    value: str
    ok: bool = True
    advice: str = ""
    where: str = ""


def findings(looks: dict[str, Callable[[], Finding]] | None = None) -> list[Finding]:
    """What `looks` find; by default at everything the course depends on inside this environment.

    A look that itself fails becomes a finding that says so, because a doctor must not fall ill.
    """
    return [_look(name, function) for name, function in (looks or LOOKS).items()]


def report(found: list[Finding], paths: bool = True) -> str:
    """The findings as lines of text, each problem followed by what to do about it.

    paths: also say where things are; False for output that is shown to others, as in a committed
    notebook.
    """
    width = max((len(finding.name) for finding in found), default=0)
    lines = []
    for finding in found:
        mark = "ok     " if finding.ok else "problem"
        where = f", {finding.where}" if paths and finding.where else ""
        lines.append(f"{mark}  {finding.name.ljust(width)}  {finding.value}{where}")
        if finding.advice:
            lines.append(f"{'':9}{'':{width}}  -> {finding.advice}")
    return "\n".join(lines)


def _look(name: str, function: Callable[[], Finding]) -> Finding:
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - whatever is wrong here is what the reader has to know
        return Finding(name, f"{type(error).__name__}: {error}", ok=False, advice=INSTALL)


def _python() -> Finding:
    value = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", value, where=sys.executable)


def _torch() -> Finding:
    import torch

    value = f"{torch.__version__}, {torch.get_num_threads()} threads"
    # Imported is not yet working: one small product shows that its libraries load.
    works = torch.equal(torch.eye(2) @ torch.ones(2, 1), torch.ones(2, 1))
    return Finding("torch", value, works, "" if works else INSTALL)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Finding("device", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        return Finding("device", "Apple GPU (mps); the course uses the CPU unless you ask for it")
    return Finding("device", "CPU, which is enough for the whole course")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    ok = memory.available >= MEMORY_WANTED
    value = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    advice = (
        f"close other programs; {MEMORY_WANTED / 1e9:.0f} GB free is comfortable" if not ok else ""
    )
    return Finding("memory", value, ok, advice)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", f"{usable} usable of {os.cpu_count()}")


def _python_sources() -> Finding:
    """The corpora come from the standard library's source files, which some systems leave out."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = sum(1 for _ in folder.glob("*.py"))
    ok = files >= 100
    advice = (
        "install the full Python (Debian: apt install libpython3-stdlib; or take it from "
        "python.org)"
    )
    return Finding("Python's sources", f"{files} modules", ok, "" if ok else advice, str(folder))


def _pydoc_data() -> Finding:
    found = (
        importlib.util.find_spec("pydoc_data.topics")
        if importlib.util.find_spec("pydoc_data")
        else None
    )
    advice = "Debian: apt install libpython3-stdlib; elsewhere take Python from python.org"
    value = "present" if found else "not in this Python"
    return Finding("Python's reference text", value, bool(found), "" if found else advice)


def _widgets() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    parts, missing = [], []
    for package in ("ipywidgets", "jupyterlab_widgets", "anywidget", "jupyterlab"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding("widgets", f"without {', '.join(missing)}", False, INSTALL)
    return Finding("widgets", ", ".join(parts))


def _cache() -> Finding:
    from moe_lib.text.corpora.arrow_cache import cache_folder

    folder = cache_folder()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding("cache", "writable", where=str(folder))
    except OSError as error:
        advice = "set MOE_LIB_CACHE to a folder you can write in"
        return Finding("cache", str(error.strerror), False, advice, str(folder))


def _checkpoints() -> Finding:
    from moe_lib.paths import CHECKPOINTS

    names = sorted(file.parent.name for file in CHECKPOINTS.glob("*/model.safetensors"))
    if not names:
        return Finding(
            "checkpoints",
            "none",
            False,
            "get the whole repository, with its data/",
            str(CHECKPOINTS),
        )
    return Finding("checkpoints", ", ".join(names))


def _this_python(root: Path) -> Finding:
    whole = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    advice = "" if whole else NO_VENV
    return Finding("this Python", platform.python_version(), whole, advice, sys.executable)


def _environment(root: Path) -> Finding:
    venv = root / ".venv"
    action, _ = environment.judge(venv, environment.wanted_stamp(root))
    if action == environment.READY:
        return Finding("environment", "complete", where=str(venv))
    value = "incomplete" if venv.exists() else "not made yet"
    return Finding("environment", value, False, f"{course_command('lab')} makes it")


def _disk(root: Path) -> Finding:
    free, made = shutil.disk_usage(root).free, environment_python(root / ".venv").exists()
    needed = environment.SPACE_FOR_UPDATE if made else environment.SPACE_FOR_ALL
    advice = f"free some space: {needed / 1e9:.0f} GB are needed for what comes next"
    return Finding(
        "disk", f"{free / 1e9:.1f} GB free", free >= needed, "" if free >= needed else advice
    )


def _browser(root: Path) -> Finding:
    found = find_browser()
    if found:
        return Finding("browser", "found", where=found)
    return Finding("browser", "no Chromium or Chrome found", False, ADVICE)


LOOKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "torch": _torch,
    "device": _device,
    "memory": _memory,
    "cores": _cores,
    "Python's sources": _python_sources,
    "Python's reference text": _pydoc_data,
    "widgets": _widgets,
    "cache": _cache,
    "checkpoints": _checkpoints,
}


SYSTEM: dict[str, Callable[[Path], Finding]] = {
    "this Python": _this_python,
    "environment": _environment,
    "disk": _disk,
    "browser": _browser,
}


def installation(venv: Path) -> tuple[str, bool]:
    """The report of the environment's own Python, and whether all is well with it."""
    if Path(sys.prefix).resolve() == venv.resolve():
        found = findings()
        return report(found), all(finding.ok for finding in found)
    if not environment.python_works(venv):
        words = "torch and the rest are not installed yet"
        return f"{words}\n{'':9s}-> {course_command('lab')} installs them", False
    code = (
        "import sys; from moe_course.doctor import findings, report; found = findings(); "
        "print(report(found)); sys.exit(not all(finding.ok for finding in found))"
    )
    said = subprocess.run(
        [str(environment_python(venv)), "-c", code],
        cwd=ROOT,
        env=cleaned_environ(dict(os.environ)),
        capture_output=True,
        encoding="utf-8",
    )
    return said.stdout.rstrip() or said.stderr.strip().splitlines()[-1], said.returncode == 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Print everything; returns 0 if nothing is missing, 1 otherwise."""
    if given := sys.argv[1:] if arguments is None else arguments:
        print(f"doctor: got '{' '.join(given)}'; wants no arguments", file=sys.stderr)
        return 2
    looks = {name: lambda look=look: look(root) for name, look in SYSTEM.items()}
    system = findings(looks)
    text, well = installation(root / ".venv")
    print(f"The system\n{report(system)}\n\nThe installation\n{text}")
    return int(not well or any(finding.advice for finding in system))


if __name__ == "__main__":
    sys.exit(run_command(main))
