"""A limit to how many tokens an expert, or a device, takes in one training step. What does not fit
is dropped.

A dropped pair contributes nothing: the token keeps its other experts, the shared experts and the
residual stream.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from moe_lib.model.routing import Routing


def capacity(n_choices: int, n_places: int, factor: float) -> int:
    """Room of one place (an expert or a device): `factor` times its even share of the choices,
    never below 1.

    n_choices is tokens · k. Rounded up: int(…) would give 0 for the one token of a generation step,
    and drop it. GShard: factor 1 with k = 2; Switch: 1.0 to 1.25 with k = 1 (equation
    3).
    """
    return max(1, math.ceil(factor * n_choices / n_places))


def limit_experts(routing: Routing, factor: float, mask: Tensor | None = None) -> Routing:
    """Capacity per expert, first come, first served (GShard algorithm 1, Switch section 2.2).

    All first choices are seated before the second choices, each in the order of the tokens. Padding
    (mask False) takes no seat and keeps its own.
    """
    choices = routing.choices(mask)
    room = capacity(int(choices.sum()), routing.n_experts, factor)
    by_rank = (
        torch.arange(choices.numel(), device=choices.device).view(choices.T.shape).T
    )  # first choices come first
    before = _waiting(routing.experts, by_rank, choices, routing.n_experts)
    return replace(routing, kept=routing.kept & ((before < room) | ~choices))


def limit_devices(
    routing: Routing,
    factor: float,
    n_devices: int,
    mask: Tensor | None = None,
    protected: Tensor | None = None,
) -> Routing:
    """Capacity per device, lowest affinity dropped first (DeepSeek-V2, section 2.2.4; its factor is
    1.0).

    n_devices  experts are dealt to the devices in equal blocks: 0 … E/D − 1 on device 0, and so on
    protected  (tokens,) bool: tokens that are never dropped; they are seated first
    """
    choices = routing.choices(mask)
    device = routing.experts // (routing.n_experts // n_devices)
    room = capacity(int(choices.sum()), n_devices, factor)
    affinity = routing.scores.detach().gather(1, routing.experts)
    if protected is not None:
        affinity = (
            affinity + 2.0 * protected[:, None]
        )  # affinities lie between 0 and 1: this seats them first
    before = _waiting(device, -affinity, choices, n_devices)
    fits = (before < room) | ~choices
    if protected is not None:
        fits = fits | protected[:, None]
    return replace(routing, kept=routing.kept & fits)


def _waiting(place: Tensor, order: Tensor, counted: Tensor, n_places: int) -> Tensor:
    """How many counted pairs wait for the same place before each pair, when the smallest `order`
    goes first.

    All (tokens, k); ties go by position. Pairs that are not counted wait in a queue of their own.
    """
    place = torch.where(counted, place, n_places).flatten()
    queue = order.flatten().argsort(stable=True)
    queue = queue[place[queue].argsort(stable=True)]  # place by place, in order within each
    sizes = torch.bincount(place, minlength=n_places + 1)
    starts = sizes.cumsum(0) - sizes
    before = torch.empty_like(place)
    before[queue] = torch.arange(len(place), device=place.device) - starts[place[queue]]
    return before.view(counted.shape)
