"""Looks at the machine and the installation: what is there, and what to do about what is missing.

python -m moe_course.installation
"""

import importlib.util
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def findings() -> list[Finding]:
    """Everything the course depends on, looked at one by one.

    A look that itself fails becomes a finding that says so, because a doctor must not fall ill.
    """
    return [_look(name, function) for name, function in LOOKS.items()]


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


if __name__ == "__main__":
    everything = findings()
    print(report(everything))
    sys.exit(0 if all(finding.ok for finding in everything) else 1)
