"""From a fresh Python to the first explorer: CPU seconds, beside those of `import torch` alone.

python -m benchmarks.first_widget [--rounds N]

Each round starts both in turn, so that a busy moment of the machine hits them alike; the ratio is
the median over the rounds. The first round, which fills the disk's cache, does not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

BASELINE = "import torch"
OPENING = (
    "from moe_lib import explore, load_checkpoint; "
    "explorer = explore(*load_checkpoint('mini-v2'), 'Any text.')"
)


def cpu_seconds(code: str) -> float:
    """CPU seconds, the system's among them, of a Python that runs `code`."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return (
        after.children_user - before.children_user + after.children_system - before.children_system
    )


def main(arguments: list[str] | None = None) -> float:
    """Print a line a round, and the median ratio, which is also returned."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_widget")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    rounds = parser.parse_args(arguments).rounds
    if rounds < 1:
        parser.error(f"--rounds: got {rounds}; wants at least 1")
    ratios = []
    for number in range(rounds + 1):
        start = time.monotonic()
        torch_alone, opening = cpu_seconds(BASELINE), cpu_seconds(OPENING)
        if number:
            ratios.append(opening / torch_alone)
            print(
                f"import torch {torch_alone:5.2f} s   first explorer {opening:5.2f} s   "
                f"ratio {ratios[-1]:.2f}   ({time.monotonic() - start:.1f} s for both)",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}")
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
