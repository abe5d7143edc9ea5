"""What a cache of experts would have done: a RoutingTrace replayed through slots, layer by layer.

A model too large for fast memory keeps its experts elsewhere and a few per layer at hand (Eliseev
and Mazur 2023, arXiv 2312.17238). Here nothing is loaded: the trace says who was needed. Every
layer has a cache of its own. Tokens come one at a time, text after text; all experts of a token
must be there together. The cache starts empty, and first loads count as misses.

`moe_lib.tracing.cache_controls` makes the traces to compare with; `prefetching` the guesses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import require, require_one_of
from moe_lib.tracing.expert_slots import EMPTY, NEVER, ONLINE, ExpertSlots
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.validation import Count, NonNegative, checked, require_tensor

POLICIES = (*ONLINE, "static", "belady")


@dataclass(frozen=True)
class CacheEvent:
    """What one token did to the cache of one layer.

    experts  whom the token needs, best first
    hits     those of them that were there
    evicted  who left to make room
    slots    who stands in each slot afterwards, -1 in an empty one
    """

    experts: tuple[int, ...]
    hits: tuple[int, ...]
    evicted: tuple[int, ...]
    slots: tuple[int, ...]

    @property
    def misses(self) -> tuple[int, ...]:
        return tuple(expert for expert in self.experts if expert not in self.hits)


@dataclass(frozen=True)
class LayerCache:
    """The cache of one layer over all tokens. `events`: one per token that chose anybody;
    prefetched: experts loaded on a guess, `useful` of them were needed by that very token."""

    index: int
    n_experts: int
    events: tuple[CacheEvent, ...]
    prefetched: int = 0
    useful: int = 0

    @property
    def requests(self) -> int:
        return sum(len(event.experts) for event in self.events)

    @property
    def hits(self) -> int:
        return sum(len(event.hits) for event in self.events)

    @property
    def misses(self) -> int:
        return self.requests - self.hits

    @property
    def evictions(self) -> int:
        return sum(len(event.evicted) for event in self.events)

    @property
    def loads(self) -> int:
        """Experts that were moved: misses, and whatever was prefetched."""
        return self.misses + self.prefetched

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests if self.requests else float("nan")


@dataclass(frozen=True)
class CacheReplay:
    """A trace replayed: a LayerCache per layer, and sums over them.

    in_sample     True if the static set was fitted on the very trace that it is judged by
    expert_bytes  of one expert, where it was given
    """

    policy: str
    num_slots: int
    layers: tuple[LayerCache, ...]
    in_sample: bool = False
    expert_bytes: float | None = None

    @property
    def misses(self) -> int:
        return sum(layer.misses for layer in self.layers)

    @property
    def loads(self) -> int:
        return sum(layer.loads for layer in self.layers)

    @property
    def hit_rate(self) -> float:
        """Share of all requests (token, expert, layer) that found their expert there."""
        requests = sum(layer.requests for layer in self.layers)
        return 1 - self.misses / requests if requests else float("nan")

    @property
    def bytes_moved(self) -> float | None:
        """Bytes of all experts that were loaded; None without expert_bytes."""
        return None if self.expert_bytes is None else self.loads * self.expert_bytes

    @checked
    def layer(self, index: int) -> LayerCache:
        """The cache of layer number `index` of the model. ValueError if it has none."""
        found = [layer for layer in self.layers if layer.index == index]
        require(bool(found), "index", index, f"one of {[layer.index for layer in self.layers]}")
        return found[0]


@checked
def simulate_expert_cache(
    trace: RoutingTrace,
    num_slots: Count,
    policy: str = "lru",
    *,
    prefetch: Mapping[int, Tensor] | None = None,
    fitted_on: RoutingTrace | None = None,
    expert_bytes: NonNegative | None = None,
) -> CacheReplay:
    """Replay a trace through a cache of `num_slots` experts per layer.

    policy        "lru" or "lfu" (`ExpertSlots`); "belady": the least misses that any policy can
                  have which loads what a token needs and holds all its experts at once in the
                  slots (farthest next use; exact also for several experts per token, as
                  experts are of one size); "static": the `num_slots` most used experts of each
                  layer stay for ever, and every other expert is loaded for its token and forgotten.
                  That passing through takes up to num_experts_per_tok places beside the slots,
                  which the others do not have, so that "static" may even beat "belady"
    fitted_on     a trace of the same layers to count uses on, for "static"; None: the trace itself,
                  and the result says so (`in_sample`)
    prefetch      guesses, a tensor (tokens, m) of experts per layer number
                  (`moe_lib.tracing.prefetching.guess_experts`), loaded just before the token needs
                  that layer; for "lru" and "lfu"
    expert_bytes  bytes of one expert, for `bytes_moved`

    Pairs that a capacity limit dropped need no expert. Raises ValueError for fewer slots than a
    token needs experts, an unknown policy, and guesses or a fit that do not belong to the trace.
    """
    require_one_of("policy", policy, POLICIES)
    require(fitted_on is None or policy == "static", "fitted_on", policy, 'policy="static"')
    wants = f"no guesses with policy {policy!r}: {' or '.join(ONLINE)}"
    require(prefetch is None or policy in ONLINE, "prefetch", "guesses", wants)
    fixed = _most_used(trace, fitted_on or trace, num_slots) if policy == "static" else {}
    layers = []
    for layer in trace.layers:
        needed = requests_of(trace, layer)
        largest = max(map(len, needed), default=0)
        wants = f"at least {largest}, the experts that one token needs at once"
        require(num_slots >= largest or policy == "static", "num_slots", num_slots, wants)
        if policy == "static":
            events, guessed = _stay(needed, fixed[layer.index]), (0, 0)
        else:
            guesses = _guesses(prefetch, layer, len(needed), num_slots)
            events, guessed = _replay(needed, num_slots, policy, guesses)
        layers.append(LayerCache(layer.index, layer.n_experts, tuple(events), *guessed))
    in_sample = policy == "static" and (fitted_on is None or fitted_on is trace)
    return CacheReplay(policy, num_slots, tuple(layers), in_sample, expert_bytes)


def requests_of(trace: RoutingTrace, layer: LayerTrace) -> list[list[int]]:
    """Whom each real token needs in this layer, best first; text after text."""
    used = layer.choices(trace.real)
    used = used if layer.kept is None else used & layer.kept
    experts, used = layer.experts[trace.real].tolist(), used[trace.real].tolist()
    return [
        [expert for expert, needs in zip(row, mask, strict=True) if needs]
        for row, mask in zip(experts, used, strict=True)
    ]


def _replay(
    needed: list[list[int]], num_slots: int, policy: str, guesses: list[list[int]] | None
) -> tuple[list[CacheEvent], tuple[int, int]]:
    cache, events, prefetched, useful = ExpertSlots(num_slots, policy), [], 0, 0
    coming = _next_uses(needed) if policy == "belady" else [None] * len(needed)
    for number, experts in enumerate(needed):
        gone = []
        if guesses is not None:
            brought = cache.bring(guesses[number])
            prefetched += len(brought)
            useful += sum(expert in experts for _, expert, _ in brought)
            gone += [who for *_, who in brought]
        if not experts:
            continue
        hits = tuple(expert for expert in experts if expert in cache)
        gone += [who for *_, who in cache.request(experts, coming[number])]
        left = tuple(who for who in gone if who != EMPTY)
        events.append(CacheEvent(tuple(experts), hits, left, tuple(cache.slots)))
    return events, (prefetched, useful)


def _next_uses(needed: list[list[int]]) -> list[list[float]]:
    """For every request the number of the next one that needs the same expert."""
    seen: dict[int, int] = {}
    coming: list[list[float]] = []
    for number in range(len(needed) - 1, -1, -1):
        coming.append([seen.get(expert, NEVER) for expert in needed[number]])
        seen.update(dict.fromkeys(needed[number], number))
    return coming[::-1]


def _stay(needed: list[list[int]], fixed: list[int]) -> list[CacheEvent]:
    there, slots = set(fixed), tuple(fixed)
    return [
        CacheEvent(tuple(experts), tuple(e for e in experts if e in there), (), slots)
        for experts in needed
        if experts
    ]


def _most_used(trace: RoutingTrace, other: RoutingTrace, num_slots: int) -> dict[int, list[int]]:
    """Per layer number the experts with the most uses in `other`, the most used first."""
    layers = [(layer.index, layer.n_experts) for layer in trace.layers]
    found = [(layer.index, layer.n_experts) for layer in other.layers]
    require(found == layers, "fitted_on", found, f"the layers and experts of the trace: {layers}")
    fixed = {}
    for layer in other.layers:
        uses = torch.zeros(layer.n_experts, dtype=torch.int64)
        for experts in requests_of(other, layer):
            uses[experts] += 1
        fixed[layer.index] = uses.argsort(descending=True, stable=True)[:num_slots].tolist()
    return fixed


def _guesses(
    prefetch: Mapping[int, Tensor] | None, layer: LayerTrace, tokens: int, num_slots: int
) -> list[list[int]] | None:
    """The guesses for one layer, or None; the first layer may well have none."""
    if prefetch is None or layer.index not in prefetch:
        return None
    name, guessed = f"prefetch[{layer.index}]", prefetch[layer.index]
    require_tensor(name, guessed, (tokens, "m"), "whole", low=0, high=layer.n_experts - 1)
    wants = f"at most num_slots ({num_slots}) guesses per token"
    require(guessed.shape[1] <= num_slots, name, guessed.shape[1], wants)
    return [list(dict.fromkeys(row)) for row in guessed.tolist()]
