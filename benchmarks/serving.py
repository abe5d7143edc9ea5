"""Requests that come at random, served in four ways: one by one, padded batches, batches packed by
length, and continuous batching.

python -m benchmarks.serving [--requests N] [--rates R ...] [--running N] [--rounds N] [--threads N]

All run the same model (mini-v2) on the same Poisson arrivals, whose unit of time is one pass of
the model, so that passes, waste and the order of events are the same on every machine; before
anything is printed, all must have written what `generate` writes of each request alone. Seconds are
measured, each way once in every round. "generate" is the library's own, one request after the
other: it has no arrivals, and decodes by a plan (model/fast) that no batch of changing rows can
follow.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from moe_lib import LanguageModel, load_checkpoint
from moe_lib.serving import Arrival, Engine, Simulated, StaticBatches, poisson_arrivals, simulate

ONE, PADDED, PACKED = "one by one", "padded", "packed by length"
CONTINUOUS, GENERATE = "continuous", "generate"
HEADS = (
    "tokens/s",
    "× one",
    "tok/pass",
    "waste",
    "first",
    "90%",
    "done",
    "90%",
    "first s",
    "done s",
)


def ways(model: LanguageModel, running: int) -> dict[str, Callable[[], object]]:
    """Name -> makes a server."""
    return {
        ONE: lambda: StaticBatches(model, max_running=1),
        PADDED: lambda: StaticBatches(model, max_running=running),
        PACKED: lambda: StaticBatches(model, max_running=running, order="length"),
        CONTINUOUS: lambda: Engine(model, max_running=running, max_queue=10**6),
    }


def alone(model: LanguageModel, arrivals: list[Arrival]) -> list[tuple[int, ...]]:
    """What `generate` writes of each."""
    texts = []
    for one in arrivals:
        ids = torch.tensor([list(one.request.input_ids)], device=model.device)
        text = model.generate(ids, one.request.max_new_tokens)
        texts.append(tuple(text[0, ids.shape[1] :].tolist()))
    return texts


def measure(
    model: LanguageModel, arrivals: list[Arrival], running: int, rounds: int
) -> tuple[dict[str, list[Simulated]], list[float]]:
    """Per way what every round saw, and the seconds of `generate`. AssertionError if a text is
    another one."""
    found: dict[str, list[Simulated]] = {name: [] for name in ways(model, running)}
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        expected = alone(model, arrivals)
        seconds.append(time.perf_counter() - begun)
        for name, make in ways(model, running).items():
            seen = simulate(make(), arrivals)
            written = [served.tokens for served in seen.requests]
            assert written == expected, f"{name} writes other texts than generate"
            found[name].append(seen)
    return found, seconds


def print_table(found: dict[str, list[Simulated]], seconds: list[float]) -> None:
    """A row a way; passes and waste are those of any round, seconds are medians."""
    print(f"{'':18s}" + "".join(f"{head:>9s}" for head in HEADS))
    slow = [seen.seconds for seen in found[ONE]]
    for name, rounds in found.items():
        seen = rounds[0]
        ratio = statistics.median(o / r.seconds for o, r in zip(slow, rounds, strict=True))
        row = f"{statistics.median(r.throughput for r in rounds):9,.0f}{ratio:9.2f}"
        row += f"{seen.tokens_per_pass:9.2f}{seen.work.waste:9.0%}"
        for what in ("waited", "took"):
            for share in (0.5, 0.9):
                row += f"{seen.quantile(what, share, 'passes'):9.0f}"
        for what in ("waited", "took"):
            row += f"{statistics.median(r.quantile(what) for r in rounds):9.3f}"
        print(f"{name:18s}{row}")
    tokens = found[ONE][0].work.tokens
    ratio = statistics.median(o / s for o, s in zip(slow, seconds, strict=True))
    print(f"{GENERATE:18s}{tokens / statistics.median(seconds):9,.0f}{ratio:9.2f}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--requests", type=int, default=48, metavar="N")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.02, 0.1, 0.5], metavar="R")
    parser.add_argument("--running", type=int, default=8, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    given = parser.parse_args(arguments)
    for name in ("requests", "running", "rounds", "threads"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}: got {getattr(given, name)}; wants at least 1")
    if not all(0 < rate < float("inf") for rate in given.rates):
        parser.error(f"--rates: got {given.rates}; wants numbers above 0")
    torch.set_num_threads(given.threads)
    model, _ = load_checkpoint("mini-v2")
    print(f"mini-v2, {given.requests} requests, at most {given.running} at once; latencies in")
    print("passes (median and 90%) and in seconds of work and waiting (median)")
    for rate in given.rates:
        arrivals = poisson_arrivals(given.requests, rate, vocab_size=model.config.vocab_size)
        new = sum(one.request.max_new_tokens for one in arrivals)
        print(f"\n{rate:g} requests a pass, {new / given.requests:.0f} new tokens each on average")
        print_table(*measure(model, arrivals, given.running, given.rounds))


if __name__ == "__main__":
    main()
