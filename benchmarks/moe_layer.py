"""The MoE layer, forward and backward, against a dense layer of equal active size and against
transformers.

    python -m benchmarks.moe_layer [--quick] [--threads N] [--device DEVICE] [--ways]
        [--seconds S] [--out FILE]

All competitors of a case get the same weights, input and routing and are run in turn; their outputs
and gradients are compared first. "dense" is one SwiGLU that is k · I wide: the same arithmetic,
without experts. Routers are not timed.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.layer_cases import CASES, DENSE, OURS, PEERS, QUICK, Case, Contest
from benchmarks.timing import (
    RESULTS,
    add_device,
    chosen_devices,
    interleave,
    machine,
    save,
    summarise,
)

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


def measure(
    case: Case, device: str = "cpu", ways: bool = False, seconds: float = 22.0
) -> list[dict]:
    """One row per competitor. Raises AssertionError if one of them computes something else."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    contest = Contest(case, device, dtype)
    forwards = contest.forwards(ways)
    differences = contest.differences(name for name in forwards if name != DENSE)
    for name, difference in differences.items():
        assert difference < TOLERANCE[dtype], (
            f"{name} differs from run_loop by {difference} on {case}"
        )

    both = {
        name: lambda forward=forward: forward().backward(contest.d_output)
        for name, forward in forwards.items()
    }
    summary = summarise(interleave(both, contest.drop_gradients, seconds), DENSE)
    return [
        {
            "device": device,
            "dtype": str(dtype).removeprefix("torch."),
            **vars(case),
            "max_violation": round(contest.violation(), 2),
            "competitor": name,
            **summary[name],
            "gflops": round(contest.arithmetic() / summary[name]["median_ms"] / 1e6, 1),
            "difference": f"{differences.get(name, 0):.1e}",
            **machine(device),
        }
        for name in forwards
    ]


def line(rows: list[dict]) -> str:
    """One line of the printed table: sizes, dense in ms, every competitor as a multiple of
    dense."""
    first, by_name = rows[0], {row["competitor"]: row for row in rows}
    sizes = "d={d} E={E} I={I} k={k} tokens={tokens} MaxVio={max_violation}".format(**first)
    fastest = min(float(by_name[name]["ratio"]) for name in PEERS)
    others = "  ".join(
        f"{name} {row['ratio']:.2f}x" for name, row in by_name.items() if name != DENSE
    )
    gain = fastest / float(by_name[OURS]["ratio"])
    return (
        f"{sizes:58s} dense {first['median_ms']:8.2f} ms  {others}  fastest transformers / ours "
        f"{gain:.2f}"
    )


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two small cases, seconds")
    parser.add_argument("--threads", type=int, help="threads of torch on a CPU")
    add_device(parser)
    parser.add_argument(
        "--ways",
        action="store_true",
        help="the first four cases, with run_masked (up to 16 experts), run_loop, "
        "run_sorted and run_grouped too",
    )
    parser.add_argument("--seconds", type=float, default=22.0, help="time for each case")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result files")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    cases, seconds = (CASES[:4] if options.ways else CASES), options.seconds
    if options.quick:
        cases, seconds = QUICK, min(seconds, 1.0)
    every = []
    for device in chosen_devices(options):
        rows = []
        for case in cases:
            measured = measure(case, device, options.ways, seconds)
            print(line(measured), flush=True)
            rows += measured
        path = (
            options.out
            / f"moe_layer_{device}{'_ways' * options.ways}{'_quick' * options.quick}.csv"
        )
        save(rows, path)
        print(f"saved {path}", file=sys.stderr)
        every += rows
    return every


if __name__ == "__main__":
    main()
