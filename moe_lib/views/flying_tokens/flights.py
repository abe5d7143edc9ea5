"""Who has to go where: the choices of a trace, with experts and tokens spread over devices."""

from dataclasses import dataclass

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
    """Tokens are dealt to the devices in equal runs, experts in their order.

    limit   devices that a token may use: those with its best expert, as in DeepSeek-V2, section
            2.2.2; fewer than all need the affinities of all experts in the trace
    copies  of the busiest experts, so many more in all; a token takes one on its own device, then
            one where it goes anyway

    ValueError names what does not fit.
    """
    n_experts = layer.n_experts
    choices = real_choices(layer, trace)
    if limit < devices:
        wants = f"{devices}, all devices: this trace has no affinities to choose anew by"
        require(layer.scores is not None, "limit", limit, wants)
        choices = _limited(layer.scores[trace.real][:MOST_TOKENS], choices, devices, limit)
    place, of = in_order(n_experts, devices), torch.arange(n_experts)
    if copies:
        load = choices[choices >= 0].bincount(minlength=n_experts)
        place, of = balanced_copies(load, n_experts + copies, devices)
    held = tuple(tuple(sorted(set(of[place == device].tolist()))) for device in range(devices))
    homes = [token * devices // len(choices) for token in range(len(choices))]
    flights = (
        _flight(home, [e for e in row if e >= 0], held, token)
        for token, (home, row) in enumerate(zip(homes, choices.tolist(), strict=True))
    )
    return Plan(tuple(flights), held)


def _flight(home: int, experts: list[int], held: tuple, token: int) -> Flight:
    where = {e: [d for d, there in enumerate(held) if e in there] for e in experts}
    taken, used = {}, {home}
    for expert in sorted(experts, key=lambda e: len(where[e])):  # those without a choice first
        there = [device for device in where[expert] if device in used] or where[expert]
        taken[expert] = there[token % len(there)]
        used.add(taken[expert])
    return Flight(home, tuple((expert, taken[expert]) for expert in experts))


def _limited(scores: Tensor, choices: Tensor, devices: int, limit: int) -> Tensor:
    """scores (tokens, E), choices (tokens, k) -> choices among the `limit` devices whose best
    expert is best."""
    k, each = choices.shape[1], scores.shape[1] // devices
    wants = f"enough for {k} experts a token: each device has {each}"
    require(limit * each >= k, "limit", limit, wants)
    best = scores.unflatten(1, (devices, each)).amax(2)  # (tokens, devices)
    open_ = torch.zeros_like(best, dtype=torch.bool).scatter(1, best.topk(limit).indices, True)
    allowed = scores.masked_fill(~open_.repeat_interleave(each, 1), -torch.inf)
    return torch.where(choices >= 0, allowed.topk(k).indices, -1)
