"""How often each expert was chosen in one optimiser step, added up over its parts."""

import torch
from torch import Tensor

from moe_lib.model import Routing, load_entropy, max_violation


class RoutingCounts:
    """Loads and drops of all MoE layers. They come from the `Routing` that a forward pass returns:
    a pass that activation checkpointing repeats for the backward pass is not counted again.

    loads    one (E,) int64 tensor per MoE layer, on the CPU
    """

    def __init__(self):
        self.loads: list[Tensor] = []
        self._choices = self._kept = 0

    def add(self, routings: list[Routing | None], mask: Tensor | None = None) -> None:
        """One forward pass: a Routing per layer, None at dense layers; mask is 0 or False at
        padding."""
        real = None if mask is None else mask.flatten()
        layers = [routing for routing in routings if routing is not None]
        loads = [layer.load(real).cpu() for layer in layers]
        before = self.loads or [torch.zeros_like(load) for load in loads]
        self.loads = [old + new for old, new in zip(before, loads, strict=True)]
        self._choices += sum(int(load.sum()) for load in loads)
        self._kept += sum(int(layer.kept_load(real).sum()) for layer in layers)

    def summary(self) -> dict[str, float]:
        """max_violation and load_entropy of the worst layer, dropped_share of all choices."""
        return {
            "max_violation": max(map(max_violation, self.loads), default=0.0),
            "load_entropy": min(map(load_entropy, self.loads), default=1.0),
            "dropped_share": 1 - self._kept / self._choices if self._choices else 0.0,
        }
