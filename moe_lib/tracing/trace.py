"""RoutingTrace: which expert took which token, in every MoE layer of one forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import require


@dataclass(frozen=True)
class LayerTrace:
    """The routing of one MoE layer.

    name       the module's name in the model, e.g. "layers.2.feed_forward"
    index      number of the layer in the model, counted from 0 (dense layers count, but have no trace)
    n_experts  E, the experts to choose from
    experts    (batch, sequence, k) int64, best first
    weights    (batch, sequence, k) float, what multiplies each chosen expert's output
    scores     (batch, sequence, E) float, affinity of every expert before selection
    """

    name: str
    index: int
    n_experts: int
    experts: Tensor
    weights: Tensor
    scores: Tensor


@dataclass(frozen=True)
class RoutingTrace:
    """Routing of a batch of texts through a model; everything on the CPU.

    layers     a LayerTrace per MoE layer, in the model's order
    input_ids  (batch, sequence) int64
    real       (batch, sequence) bool, False at padding; padding takes no part in counts
    """

    layers: list[LayerTrace]
    input_ids: Tensor
    real: Tensor

    def layer(self, index: int) -> LayerTrace:
        """The trace of layer number `index` of the model. Raises ValueError if that layer has no experts."""
        found = [layer for layer in self.layers if layer.index == index]
        require(bool(found), "index", index, f"a layer with experts: {[layer.index for layer in self.layers]}")
        return found[0]

    def load(self, index: int) -> Tensor:
        """Times each expert of layer `index` was chosen, padding left out: (E,) int64."""
        layer = self.layer(index)
        return torch.bincount(layer.experts[self.real].flatten(), minlength=layer.n_experts)

    def loads(self) -> Tensor:
        """`load` of every traced layer, (layers, E) int64. Raises ValueError if layers differ in size."""
        sizes = {layer.n_experts for layer in self.layers}
        require(len(sizes) == 1, "layers", sorted(sizes), "the same number of experts in every layer; use load(index)")
        return torch.stack([self.load(layer.index) for layer in self.layers])
