"""Statistics of traces that can be kept where the traces cannot: loads, and hit rates beside their
controls."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from moe_lib.errors import require
from moe_lib.files import write_atomically
from moe_lib.tracing.cache_controls import shuffled, uniform
from moe_lib.tracing.expert_cache import CacheReplay, simulate_expert_cache
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import Count, PathLike, Seed, checked

DIGITS = 4  # of a hit rate


@checked
def hit_rates(
    trace: RoutingTrace, num_slots: Count, other: RoutingTrace | None = None, seed: Seed = 0
) -> dict[str, dict]:
    """Way -> {"all": hit rate, "layers": hit rate of each layer}, for LRU, LFU and Belady, LRU on
    the tokens shuffled and on experts drawn by chance, and the best static set: fitted on the trace
    itself ("static in-sample"), and on `other` ("static") if it is given.

    Raises as `simulate_expert_cache` does.
    """
    ways = {policy: simulate_expert_cache(trace, num_slots, policy) for policy in ("lru", "lfu")}
    ways["belady"] = simulate_expert_cache(trace, num_slots, "belady")
    ways["lru shuffled"] = simulate_expert_cache(shuffled(trace, seed), num_slots)
    ways["lru uniform"] = simulate_expert_cache(uniform(trace, seed), num_slots)
    ways["static in-sample"] = simulate_expert_cache(trace, num_slots, "static")
    if other is not None:
        ways["static"] = simulate_expert_cache(trace, num_slots, "static", fitted_on=other)
    return {name: _rates(replay) for name, replay in ways.items()}


def _rates(replay: CacheReplay) -> dict:
    rates = [round(layer.hit_rate, DIGITS) for layer in replay.layers]
    return {"all": round(replay.hit_rate, DIGITS), "layers": rates}


@checked
def trace_statistics(traces: Mapping[str, RoutingTrace], num_slots: Count) -> dict:
    """Task -> {"texts", "tokens", "load": layer number -> how often each expert was chosen,
    "hit_rates": see `hit_rates`}. The static set of a task is fitted on the other tasks."""
    found = {}
    for task, trace in traces.items():
        rest = [other for name, other in traces.items() if name != task]
        found[task] = {
            "texts": len(trace.real),
            "tokens": int(trace.real.sum()),
            "load": {str(layer.index): trace.load(layer.index).tolist() for layer in trace.layers},
            "hit_rates": hit_rates(trace, num_slots, rest[0].join(*rest[1:]) if rest else None),
        }
    return found


@checked
def load_of(statistics: Mapping, task: str) -> torch.Tensor:
    """(layers, E) int64: the loads of one task out of what `trace_statistics` gave. ValueError for
    a task that is not there."""
    require(task in statistics, "task", task, f"one of {', '.join(statistics)}")
    return torch.tensor(list(statistics[task]["load"].values()))


@checked
def write_statistics(path: PathLike, content: Mapping) -> Path:
    """Write JSON with each list of numbers on one line, which keeps it small; returns the file."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    text = re.sub(r"\[[\d\s.,]*\]", lambda found: " ".join(found[0].split()), text)
    target = Path(path)
    write_atomically(target, lambda aside: aside.write_text(text, encoding="utf-8"))
    return target
