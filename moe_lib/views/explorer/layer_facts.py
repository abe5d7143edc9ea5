"""What a layer of a trace says of its groups and the choices of one token."""

import torch

from moe_lib.errors import require
from moe_lib.tracing.trace import LayerTrace, RoutingTrace


def layer_of(trace: RoutingTrace, index: int) -> LayerTrace:
    """Layer `index` of a trace; ValueError if it has no such layer, or none at all."""
    known = [layer.index for layer in trace.layers]
    require(index in known, "layer", index, f"one of {known}")
    return trace.layer(index)


def require_choice(layer: LayerTrace, rank: int, expert: int | None) -> None:
    """A rank that the layer's choices have, and the number of one of its experts, or None."""
    k = layer.experts.shape[-1]
    require(rank in range(1, k + 1), "rank", rank, f"1 to {k}")
    wants = f"None or a number from 0 to {layer.n_experts - 1}"
    require(expert is None or expert < layer.n_experts, "expert", expert, wants)


def dense_layers(trace: RoutingTrace) -> list[int]:
    """Numbers of the layers without experts; none if the model does not say how many layers it
    has."""
    with_experts = {layer.index for layer in trace.layers}
    return [index for index in range(trace.n_layers or 0) if index not in with_experts]


def choices_of(layer: LayerTrace, token: int) -> list[tuple[int, float | None, bool]]:
    """(expert, weight, kept) of each choice of one token of the first text, in the order of their
    rank; the weight is None where nobody recorded it."""
    experts = layer.experts[0, token]
    chosen = (
        torch.ones_like(experts, dtype=torch.bool)
        if layer.chosen is None
        else layer.chosen[0, token]
    )
    kept = torch.ones_like(chosen) if layer.kept is None else layer.kept[0, token]
    columns = zip(
        experts.tolist(),
        [None] * len(experts) if layer.weights is None else layer.weights[0, token].tolist(),
        kept.tolist(),
        chosen.tolist(),
        strict=True,
    )
    return [(expert, weight, there) for expert, weight, there, choice in columns if choice]


def groups_of(layer: LayerTrace, token: int) -> list[int]:
    """Groups that hold an expert of one token, in group-limited routing; else none."""
    size = layer.n_experts // layer.n_group
    return (
        sorted({expert // size for expert, _, _ in choices_of(layer, token)})
        if layer.n_group > 1
        else []
    )
