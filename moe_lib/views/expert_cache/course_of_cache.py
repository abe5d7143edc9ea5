"""What the player plays: one layer's cache over the tokens of a trace, and what it is compared
with."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.cache_controls import shuffled
from moe_lib.tracing.expert_cache import CacheEvent, LayerCache, simulate_expert_cache
from moe_lib.tracing.expert_slots import EMPTY
from moe_lib.tracing.trace import RoutingTrace

HIT, LOADED, KEPT, GUESSED, FREE = "hit", "loaded", "kept", "guessed", "free"


@dataclass(frozen=True)
class Course:
    """events   one per token; rates: for each of them the hit rate so far
    shuffled    the same policy on the same tokens in another order, likewise
    belady      the fewest misses possible without guesses, likewise
    cache       the replay of the layer, for its sums
    """

    policy: str
    cache: LayerCache
    rates: list[float]
    shuffled: list[float]
    belady: list[float]

    @property
    def events(self) -> tuple[CacheEvent, ...]:
        return self.cache.events


def first_tokens(trace: RoutingTrace, number: int) -> RoutingTrace:
    """The trace of its first `number` real tokens; the others become padding."""
    order = trace.real.flatten().cumsum(0).view(trace.real.shape)
    return trace.filter(tokens=trace.real & (order <= number))


def play(
    trace: RoutingTrace,
    layer: int,
    num_slots: int,
    policy: str,
    guesses: Mapping[int, Tensor] | None,
    fitted_on: RoutingTrace | None,
) -> Course:
    """Replay one layer of a trace, and its controls."""
    one = trace.filter(layers=[layer])
    tokens = int(one.real.sum())
    fit = {}
    if policy == "static" and fitted_on is not None:
        fit = {"fitted_on": fitted_on.filter(layers=[layer])}
    cut = None
    if guesses is not None and layer in guesses:
        given = guesses[layer]
        fits = isinstance(given, Tensor) and given.dim() == 2 and len(given) >= tokens
        wants = f"a tensor (tokens, m) of at least {tokens} tokens"
        got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        require(fits, f"guesses[{layer}]", got, wants)
        cut = {layer: given[:tokens]}
    runs = (
        simulate_expert_cache(one, num_slots, policy, prefetch=cut, **fit),
        simulate_expert_cache(shuffled(one), num_slots, policy, **fit),
        simulate_expert_cache(one, num_slots, "belady"),
    )
    return Course(policy, runs[0].layers[0], *(_so_far(run.layers[0].events) for run in runs))


def _so_far(events: tuple[CacheEvent, ...]) -> list[float]:
    """The hit rate of all tokens up to each one."""
    hits = torch.tensor([len(event.hits) for event in events], dtype=torch.float64).cumsum(0)
    asked = torch.tensor([len(event.experts) for event in events], dtype=torch.float64).cumsum(0)
    return (hits / asked).tolist()


def slot_states(course: Course, place: int) -> list[dict]:
    """The slots after token number `place` (from 0): who is there, since when, who had to go."""
    event = course.events[place]
    first = event.slots if course.policy == "static" else (EMPTY,) * len(event.slots)
    before = course.events[place - 1].slots if place else first
    states = []
    for expert, earlier in zip(event.slots, before, strict=True):
        if expert == EMPTY:
            state = FREE
        elif expert in event.misses:
            state = LOADED
        elif expert not in before:
            state = GUESSED
        else:
            state = HIT if expert in event.hits else KEPT
        gone = earlier if earlier not in (EMPTY, expert) and earlier not in event.slots else None
        states.append({"expert": None if expert == EMPTY else expert, "state": state, "gone": gone})
    return states
