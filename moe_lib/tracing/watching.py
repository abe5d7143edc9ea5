"""Watch the routers of a Hugging Face model at work.

Two modules say who was chosen: the router, which returns (logits, weights, indices), and the
experts, which are called with (hidden states, indices, weights). Both are hooked, and must agree.
Deriving the choice from `output_router_logits` instead is wrong for every family with a bias,
groups or a hash table.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.modules import bare
from moe_lib.tracing.families import ADAPTERS, Choice, affinities, scale_after, without_skipped
from moe_lib.tracing.hugging_face import (
    WatchedLayer,
    expert_arguments,
    find_layers,
    limiting_groups,
    number_of_shared,
)
from moe_lib.tracing.trace import LayerTrace


@contextmanager
def watching(model: nn.Module) -> Iterator[list[WatchedLayer]]:
    """Within the `with` block every call of an MoE layer of `model` is noted down; the hooks go
    away at its end.

    Raises ValueError, naming the model's class, if it has no experts that this library knows how to
    read.
    """
    layers = find_layers(model)
    require(
        bool(layers),
        "model",
        type(model).__name__,
        "a model with experts: it has no router and no experts that this library knows",
    )
    handles = []
    try:
        for layer in layers:
            handles += _hooks(layer)
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def _hooks(layer: WatchedLayer) -> list:
    """Hooks on what the block calls, adapters included: those around a router change its choice."""
    router = layer.router_outside and bare(layer.router_outside, adapters=False)
    if layer.experts is None:
        read = ADAPTERS[type(layer.router).__name__]

        def on_router(module, args, output):
            layer.seen.append(_detached(_scaled(read(layer.router, output), layer.block)))

        return [router.register_forward_hook(on_router)]
    said: list = []  # what the router returned, until the experts are called
    names = list(inspect.signature(layer.experts.forward).parameters)
    index_name, weight_name = expert_arguments(layer.experts)

    def on_experts(module, args, kwargs):
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        choice = _agreed(layer, said.pop() if said else None, given[index_name], given[weight_name])
        layer.seen.append(_detached(choice))

    experts = bare(layer.experts_outside, adapters=False)
    handles = [experts.register_forward_pre_hook(on_experts, with_kwargs=True)]
    if router is not None:
        handles.append(
            router.register_forward_hook(lambda module, args, output: said.append(output))
        )
    return handles


def _agreed(layer: WatchedLayer, said, experts: Tensor, weights: Tensor) -> Choice:
    """The choice that the experts were given, checked against what the router returned."""
    k = experts.shape[-1]
    experts, weights = experts.reshape(-1, k), weights.reshape(-1, k)
    total = getattr(
        layer.experts, "total_experts", None
    )  # LongCat: the last of them hand the token on as it is
    choice = Choice(experts, weights, total or layer.experts.num_experts)
    if isinstance(said, tuple) and len(said) >= 3:
        logits, router_weights, router_experts = said[0], said[1], said[2].reshape(-1, k)
        agree = torch.equal(router_experts, experts) and _same_numbers(
            router_weights.reshape(-1, k), weights
        )
    elif isinstance(said, Tensor):  # logits alone: the chosen must be the largest
        logits = said
        agree = _are_largest(experts, logits.reshape(-1, logits.shape[-1]))
    else:
        return _scaled(choice, layer.block)
    require(
        agree, "model", f"{layer.name}: a router that chose other experts than ran", "both to agree"
    )
    choice = replace(choice, logits=logits.reshape(len(experts), -1))
    if type(layer.block).__name__ == "ZayaSparseMoeBlock":
        return without_skipped(choice)
    return _scaled(choice, layer.block)


def _same_numbers(one: Tensor, other: Tensor) -> bool:
    """Equal but for the rounding of the coarser of the two types; a NaN is like a NaN."""
    rounding = max(torch.finfo(one.dtype).eps, torch.finfo(other.dtype).eps)
    return torch.allclose(one.float(), other.float(), rtol=2 * rounding, atol=0, equal_nan=True)


def _are_largest(experts: Tensor, logits: Tensor) -> bool:
    """Are `experts` (tokens, k) k different ones with the largest logits (tokens, E)?

    Of equal logits, which half precision has often, any may be chosen; where one is NaN nothing
    can be said."""
    different = experts.sort().values.diff().ne(0).all()
    known = ~logits.isnan().any(-1)
    least = logits.topk(experts.shape[-1]).values[:, -1]
    return bool(different and (logits.gather(1, experts).amin(-1) >= least)[known].all())


def _scaled(choice: Choice, block: nn.Module) -> Choice:
    scale = scale_after(block)
    return choice if scale == 1 else replace(choice, weights=choice.weights * scale)


def _detached(choice: Choice) -> Choice:
    tensors = {
        name: value.detach() for name, value in vars(choice).items() if isinstance(value, Tensor)
    }
    return replace(choice, **tensors)


def layer_traces(
    model: nn.Module, layers: list[WatchedLayer], batch: int, length: int
) -> tuple[list, tuple]:
    """(layers, attention layers) of what was seen of `batch` texts; several calls follow each other
    in time.

    Raises ValueError if no layer was called, or one saw another number of tokens than batch ·
    length.
    """
    used = [layer for layer in layers if layer.seen]
    require(
        bool(used),
        "model",
        f"{type(model).__name__}, none of whose {len(layers)} MoE layers was called",
        "a forward pass that calls them as modules (no compiled or captured graph)",
    )
    traces = [
        (layer, _layer_trace(layer, batch, length, number_of_shared(model, layer)))
        for layer in used
    ]
    for part in (False, True):
        numbers = [layer.index for layer, _ in traces if layer.in_attention is part]
        twice = sorted({n for n in numbers if numbers.count(n) > 1})
        require(
            not twice,
            "model",
            f"two sets of experts in layers {twice}",
            "one per layer; pass the part to trace",
        )
    return (
        [trace for layer, trace in traces if not layer.in_attention],
        tuple(trace for layer, trace in traces if layer.in_attention),
    )


def _layer_trace(layer: WatchedLayer, batch: int, length: int, n_shared: int) -> LayerTrace:
    choices = [_by_weight(choice) for choice in layer.seen]
    total = sum(len(choice.experts) for choice in choices)
    require(
        total == batch * length,
        "model",
        f"{layer.name}: {total} tokens routed",
        f"{batch} · {length}, each token of the input once",
    )

    def whole(parts: list[Tensor | None]) -> Tensor | None:
        if all(part is None for part in parts):
            return None
        return torch.cat([part.view(batch, -1, part.shape[-1]).cpu() for part in parts], dim=1)

    return LayerTrace(
        layer.name,
        layer.index,
        choices[0].n_experts,
        whole([choice.experts for choice in choices]),
        whole([choice.weights.float() for choice in choices]),
        whole([affinities(choice) for choice in choices]),
        whole([choice.kept for choice in choices]),
        whole([choice.chosen for choice in choices]),
        layer.shared,
        n_shared,
        *limiting_groups(layer.router),
    )


def _by_weight(choice: Choice) -> Choice:
    """Largest weight first: many families leave their experts in no order."""
    order = choice.weights.float().argsort(dim=-1, descending=True, stable=True)
    moved = {
        name: value.gather(1, order)
        for name in ("experts", "weights", "kept", "chosen")
        if (value := getattr(choice, name)) is not None
    }
    return replace(choice, **moved)
