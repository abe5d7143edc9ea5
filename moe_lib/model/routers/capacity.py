"""A limit to how many tokens an expert, or a device, takes in one training step.

What does not fit is dropped and adds nothing: the token keeps its other experts, the shared experts
and the residual stream.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from moe_lib.model.routing import Routing


def capacity(n_choices: int, n_places: int, factor: float) -> int:
    """Room of one place (an expert or a device): `factor` times its even share of the choices,
    tokens · k, rounded up. Rounded down, a small batch would find none.
    GShard: factor 1 with k = 2; Switch: 1.0 to 1.25 with k = 1 (equation 3)."""
    return max(1, math.ceil(factor * n_choices / n_places))


def limit_experts(routing: Routing, factor: float, mask: Tensor | None = None) -> Routing:
    """Capacity per expert, first come, first served: all first choices are seated before the second
    choices (GShard, algorithm 1; Switch, section 2.2, has no second), each in the order of the
    tokens. Padding (mask False) takes no seat and keeps its own."""
    choices = routing.choices(mask)  # (tokens, k)
    room = capacity(int(choices.sum()), routing.n_experts, factor)
    order = torch.arange(choices.numel(), device=choices.device).view(choices.T.shape).T
    before = _waiting(routing.experts, order, choices, routing.n_experts)
    return replace(routing, kept=routing.kept & ((before < room) | ~choices))


def limit_devices(routing: Routing, factor: float, n_devices: int, mask=None, protected=None):
    """Capacity per device, lowest affinity dropped first (DeepSeek-V2, section 2.2.4; its factor is
    1.0) -> Routing.

    n_devices  experts are dealt to the devices in equal blocks: 0 … E/D − 1 on device 0, and so on
    mask       (tokens,) bool or None, as above
    protected  (tokens,) bool or None: tokens that are never dropped; they are seated first
    """
    choices = routing.choices(mask)  # (tokens, k)
    device = routing.experts // (routing.n_experts // n_devices)
    room = capacity(int(choices.sum()), n_devices, factor)
    affinity = routing.scores.detach().gather(1, routing.experts)  # (tokens, k)
    safe = torch.zeros_like(choices) if protected is None else protected[:, None]
    before = _waiting(device, -affinity.masked_fill(safe, torch.inf), choices, n_devices)
    return replace(routing, kept=routing.kept & ((before < room) | ~choices | safe))


def _waiting(place: Tensor, order: Tensor, counted: Tensor, n_places: int) -> Tensor:
    """How many counted pairs wait for the same place before each pair, when the smallest `order`
    goes first: all (tokens, k). Ties go by position; pairs not counted have their own queue."""
    place = torch.where(counted, place, n_places).flatten()  # (tokens · k,)
    queue = order.flatten().argsort(stable=True)
    queue = queue[place[queue].argsort(stable=True)]  # place by place, in order within each
    sizes = torch.bincount(place, minlength=n_places + 1)
    starts = sizes.cumsum(0) - sizes
    before = torch.empty_like(place)
    before[queue] = torch.arange(len(place), device=place.device) - starts[place[queue]]
    return before.view(counted.shape)
