"""Time several functions fairly: in turn, round after round, so that a busy moment of the machine
hits them all."""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import transformers

import moe_lib
from moe_lib.devices import VARIABLE, usable_device

RESULTS = Path(__file__).parent / "results"


def interleave(
    functions: dict[str, Callable[[], None]],
    prepare: Callable[[], None] = lambda: None,
    seconds: float = 10.0,
    rounds: tuple[int, int] = (5, 60),
) -> dict[str, list[float]]:
    """Seconds that each function took, one number per round.

    functions  name -> what to time; each is run once before, untimed
    prepare    called before each run, untimed (dropping old gradients)
    seconds    wall time to spend, about; never fewer than rounds[0] rounds, never more than
               rounds[1]
    """
    for function in functions.values():
        prepare()
        function()
    taken: dict[str, list[float]] = {name: [] for name in functions}
    started = time.perf_counter()
    while len(next(iter(taken.values()))) < rounds[1]:
        for name, function in functions.items():
            prepare()
            wait_for_device()
            before = time.perf_counter()
            function()
            wait_for_device()
            taken[name].append(time.perf_counter() - before)
        if time.perf_counter() - started > seconds and len(taken[name]) >= rounds[0]:
            break
    return taken


def wait_for_device() -> None:
    """An accelerator works on after a call returns; the clock must not stop before it is done."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option --device, for one device or several."""
    parser.add_argument(
        "--device",
        type=_device_type,
        action="append",
        help="cpu, cuda, ...; may be repeated. Default: the GPU if there is one, else the CPU; "
        f"the variable {VARIABLE} overrides",
    )


def chosen_devices(options: argparse.Namespace) -> list[str]:
    """The types of the devices to measure on, those of --device or the course's."""
    return options.device or [moe_lib.device().type]


def _device_type(name: str) -> str:
    try:
        return usable_device(name).type
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def summarise(taken: dict[str, list[float]], baseline: str) -> dict[str, dict[str, float]]:
    """Per function: median_ms, min_ms, rounds, and ratio, the median over rounds of its time to the
    baseline's.

    The ratio is taken within each round: two neighbours saw the same machine, two medians may not
    have.
    """
    return {
        name: {
            "median_ms": round(1e3 * statistics.median(times), 3),
            "min_ms": round(1e3 * min(times), 3),
            "ratio": round(
                statistics.median(t / b for t, b in zip(times, taken[baseline], strict=True)), 3
            ),
            "rounds": len(times),
        }
        for name, times in taken.items()
    }


def machine(device: str) -> dict[str, str | int]:
    """What a saved number needs beside it to mean anything."""
    return {
        "date": date.today().isoformat(),
        "machine": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def save(rows: list[dict], path: Path) -> None:
    """Write rows (dicts with the same keys) as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def load(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, all values as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
