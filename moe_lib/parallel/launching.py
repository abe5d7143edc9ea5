"""Start some processes on this machine, let them work together, and leave none behind.

torchrun does so on one machine or many. This is for a notebook or a test: on the loopback device
alone, without a port for strangers (the processes meet in a file), with an end in any case.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_lib.errors import require
from moe_lib.parallel.ranks import FILE, LOOPBACK, RankLost
from moe_lib.validation import Count, Flag, Natural, Positive, checked

_GRACE = 8.0  # seconds for the others to stop by themselves and say why


@dataclass(frozen=True)
class Finished:
    """One process of a launch: what its function returned (None if it did not get that far), its
    exit code (0 is good; below 0, the signal that killed it), and what it printed."""

    result: Any
    code: int
    printed: str


@checked
def launch(
    function: str | Callable,
    ranks: Count,
    arguments: Mapping | None = None,
    *,
    timeout: Positive = 300.0,
    may_fail: Flag = False,
    missing: tuple[Natural, ...] = (),
) -> list[Finished]:
    """Call `function(**arguments)` in that many processes, which `moe_lib.parallel.join` brings
    together, and wait for them; returns a Finished of each, in the order of ranks.

    function   one that can be imported, or its name, "package.module:function"; it gets and gives
               what JSON can hold
    timeout    seconds until all of them are ended, however far they are
    may_fail   give back what a failed launch has printed; else RankLost with the first bad rank's
               last line
    missing    ranks that are not started: to see what the others do

    Where one ends badly, the others have some seconds to stop by themselves. When this process
    ends, so do they. ValueError or TypeError for a function that cannot be imported.
    """
    name = function if isinstance(function, str) else _name_of(function)
    module, _, inside = name.partition(":")
    require(bool(module and inside), "function", name, '"package.module:function"')
    absent = [rank for rank in missing if rank >= ranks]
    require(not absent and len(set(missing)) < ranks, "missing", missing, f"some of {ranks} ranks")
    with tempfile.TemporaryDirectory(prefix="moe_lib_ranks_") as folder:
        started = _start(name, ranks, json.dumps(dict(arguments or {})), Path(folder), missing)
        try:
            late = _wait(list(started.values()), time.monotonic() + timeout)
        finally:
            _end(list(started.values()))
        done = [_finished(Path(folder), rank, process) for rank, process in started.items()]
    bad = [number for number, one in enumerate(done) if one.code != 0]
    if bad and not may_fail:
        lines = [line for line in done[bad[0]].printed.split("\n") if line.strip()] or ["nothing"]
        why = f"not done within {timeout:g} s; " if late else ""
        raise RankLost(f"rank {bad[0]} of {ranks} ended with {done[bad[0]].code}: {why}{lines[-1]}")
    return done


def _name_of(function: Callable) -> str:
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "<")
    fits = "<" not in name and module not in ("", "__main__")
    require(fits, "function", name, "a function of a module that can be imported")
    return f"{module}:{name}"


def _start(
    name: str, ranks: int, arguments: str, folder: Path, missing: tuple
) -> dict[int, subprocess.Popen]:
    """Every process, with files in `folder` for what it prints and returns."""
    shared = {FILE: str(folder / "ranks"), LOOPBACK: "1", "WORLD_SIZE": str(ranks)}
    shared |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    shared["PYTHONPATH"] = os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)
    started = {}
    for rank in range(ranks):
        if rank in missing:
            continue
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "moe_lib.parallel.worker", name, str(folder / f"{rank}")]
        with (folder / f"{rank}.txt").open("wb") as printed:
            started[rank] = subprocess.Popen(
                [*command, arguments],
                env=os.environ | shared | own,
                stdin=subprocess.PIPE,  # closes when this process ends: the worker then ends, too
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
    return started


def _wait(processes: list[subprocess.Popen], end: float) -> bool:
    """Until all have ended, or one badly and its grace is over, or the time is up: True then."""
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            end = min(end, time.monotonic() + _GRACE)
            while any(process.poll() is None for process in processes) and time.monotonic() < end:
                time.sleep(0.02)
            return False
        if time.monotonic() > end:
            return True
        time.sleep(0.02)
    return False


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
        process.stdin.close()


def _finished(folder: Path, rank: int, process: subprocess.Popen) -> Finished:
    path = folder / f"{rank}.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    printed = (folder / f"{rank}.txt").read_text(encoding="utf-8", errors="replace")
    return Finished(result, process.returncode, printed)
