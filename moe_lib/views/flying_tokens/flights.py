"""Who has to go where: the choices of a trace, with experts and tokens spread over devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.parallel.placement import balanced_copies, in_order
from moe_lib.tracing.trace import LayerTrace, RoutingTrace

MOST_EXPERTS, MOST_TOKENS = 64, 256  # that can be told apart in a drawing, and watched


@dataclass(frozen=True)
class Flight:
    """One token: the device it lives on, (expert, device) of each of its choices, and the other
    devices that it is sent to, once each."""

    home: int
    choices: tuple[tuple[int, int], ...]

    @property
    def to(self) -> tuple[int, ...]:
        return tuple(sorted({device for _, device in self.choices} - {self.home}))


@dataclass(frozen=True)
class Plan:
    """flights: one per token. held: the experts of each device, a copied one on several."""

    flights: tuple[Flight, ...]
    held: tuple[tuple[int, ...], ...]

    @property
    def devices(self) -> int:
        return len(self.held)

    def rows(self, until: int) -> Tensor:
        """(devices, devices) int64: rows sent from one (row) to another (column) by the first
        `until` tokens. As many come back."""
        sent = torch.zeros(self.devices, self.devices, dtype=torch.int64)
        for flight in self.flights[:until]:
            for device in flight.to:
                sent[flight.home, device] += 1
        return sent

    def work(self, until: int) -> Tensor:
        """(devices,) int64: (token, expert) pairs that each device computes."""
        done = torch.zeros(self.devices, dtype=torch.int64)
        for flight in self.flights[:until]:
            for _, device in flight.choices:
                done[device] += 1
        return done


def real_choices(layer: LayerTrace, trace: RoutingTrace) -> Tensor:
    """(tokens, k) int64: the experts of every real token, -1 where a column holds none."""
    held = layer.choices(trace.real)
    held = held if layer.kept is None else held & layer.kept
    return torch.where(held, layer.experts, -1)[trace.real][:MOST_TOKENS]


def make_plan(
    trace: RoutingTrace, layer: LayerTrace, devices: int, limit: int, copies: int
) -> Plan:
    """Tokens are dealt to the devices in equal runs, experts in their order; with copies, so that
    the loads come out even.

    limit   devices whose experts a token may use, its own included if it is one of them: those with
            its best expert, as in DeepSeek-V2, section 2.2.2. A token whose recorded experts are on
            no more of them keeps those; for the others the trace needs all affinities.
    copies  of the busiest experts, so many more in all; a token takes one on its own device, then
            one where it goes anyway

    ValueError names what does not fit.
    """
    choices = real_choices(layer, trace)
    held = _held(choices, layer.n_experts, devices, copies)
    homes = [token * devices // len(choices) for token in range(len(choices))]
    flights = [
        _flight(home, [e for e in row if e >= 0], held, token, range(devices))
        for token, (home, row) in enumerate(zip(homes, choices.tolist(), strict=True))
    ]
    if limit < devices:
        wants = f"{devices}, all devices: this trace has no affinities to choose anew by"
        require(layer.scores is not None, "limit", limit, wants)
        scores = layer.scores[trace.real][:MOST_TOKENS]
        k = choices.shape[1]
        room = fewest_experts(held, limit)
        wants = f"enough for {k} experts a token: so many devices may have {room}"
        require(room >= k, "limit", limit, wants)
        flights = [
            flight if _spread(flight) <= limit else _limited(flight, affinities, held, token, limit)
            for token, (flight, affinities) in enumerate(zip(flights, scores, strict=True))
        ]
    return Plan(tuple(flights), held)


def _held(choices: Tensor, n_experts: int, devices: int, copies: int) -> tuple:
    """The experts of each device, in order; with copies, packed by their loads."""
    place, of = in_order(n_experts, devices), torch.arange(n_experts)
    if copies:
        load = choices[choices >= 0].bincount(minlength=n_experts)
        place, of = balanced_copies(load, n_experts + copies, devices)
    return tuple(tuple(sorted(set(of[place == device].tolist()))) for device in range(devices))


def fewest_experts(held: Sequence[tuple[int, ...]], limit: int) -> int:
    """How many different experts any `limit` devices have at least: copies of one count once."""
    return min(len(set().union(*some)) for some in combinations(held, limit))


def _spread(flight: Flight) -> int:
    """Devices that compute for the token."""
    return len({device for _, device in flight.choices})


def _limited(flight: Flight, affinities: Tensor, held: tuple, token: int, limit: int) -> Flight:
    """The same token, with as many experts, from the `limit` devices whose best expert is best.
    affinities (E,)"""
    best = torch.stack([affinities[list(experts)].max() for experts in held])
    open_ = best.argsort(descending=True, stable=True)[:limit].tolist()
    allowed = torch.full_like(affinities, -torch.inf)
    for device in open_:
        here = list(held[device])
        allowed[here] = affinities[here]
    chosen = allowed.topk(len(flight.choices)).indices.tolist()
    return _flight(flight.home, chosen, held, token, open_)


def _flight(home: int, experts: list[int], held: tuple, token: int, open_: Sequence[int]) -> Flight:
    """A token's way to its experts, on the devices that are open to it."""
    where = {e: [d for d in open_ if e in held[d]] for e in experts}
    taken, used = {}, {home}
    for expert in sorted(experts, key=lambda e: len(where[e])):  # those without a choice first
        there = [device for device in where[expert] if device in used] or where[expert]
        taken[expert] = there[token % len(there)]
        used.add(taken[expert])
    return Flight(home, tuple((expert, taken[expert]) for expert in experts))
