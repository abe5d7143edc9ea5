"""Keep some experts of a Hugging Face model from being chosen.

A family's router turns hidden states into logits, logits into scores and scores into a choice, each
in its own way and in one function, so no hook can reach in between. But all of them call torch:
`F.linear` makes the logits, and `topk` chooses. While a router runs, a TorchFunctionMode changes
what these two see: the banned experts get logits of -inf, and -inf again before a `topk` over all
experts (a bias could have lifted a score of 0). What the router says in the end is checked.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from moe_lib.errors import require
from moe_lib.tracing.families import ADAPTERS
from moe_lib.tracing.hugging_face import WatchedLayer, find_layers

_TOPK = (torch.topk, Tensor.topk)


class _Banned(TorchFunctionMode):
    """Within this mode the experts in `banned` have no chance; `classes` is what the router chooses
    from. The products with the weights in `left` make no logits: an adapter's inner ones."""

    def __init__(self, banned: list[int], classes: int, left: Iterable[Tensor] = ()):
        super().__init__()
        self.banned, self.classes = banned, classes
        self.left = tuple(left)

    def _mask(self, tensor: Tensor) -> Tensor:
        if tensor.shape[-1] != self.classes or not tensor.is_floating_point():
            return tensor
        return tensor.index_fill(-1, torch.tensor(self.banned, device=tensor.device), -torch.inf)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in _TOPK and args:
            args = (self._mask(args[0]), *args[1:])
        result = function(*args, **kwargs)
        inner = any(argument is weight for argument in args for weight in self.left)
        return self._mask(result) if function is F.linear and not inner else result


@contextmanager
def banned_experts(model: nn.Module, off: dict[int, list[int]]) -> Iterator[nn.Module]:
    """Within the `with` block the routers of `model` never choose the experts in `off`, {layer:
    experts}.

    Raises ValueError for a layer without experts, an unknown expert, too few experts left, or a
    router that cannot be told (a hash table, product keys, NLLB's).
    """
    layers = [layer for layer in find_layers(model) if reads_text(layer, model)]
    require(
        bool(layers) or not off,
        "off",
        sorted(off),
        f"none: {type(model).__name__} has no experts that this library knows",
    )
    replaced: list[tuple[nn.Module, object]] = []
    try:
        for index, experts in off.items():
            replaced.append(_ban(_layer(layers, index), index, sorted(set(experts))))
        yield model
    finally:
        for router, before in reversed(replaced):
            if before is None:
                del router.forward  # the class has its own
            else:
                router.forward = before


def reads_text(layer: WatchedLayer, model: nn.Module) -> bool:
    """Is this a layer that a trace of a text shows? No attention, no vision, no decoder beside an
    encoder."""
    two_parts = getattr(model.config, "is_encoder_decoder", False)
    return not (
        layer.in_attention
        or "vision" in layer.name
        or two_parts
        and "decoder" in layer.name.split(".")
    )


def _layer(layers: list[WatchedLayer], index: int) -> WatchedLayer:
    known = sorted({layer.index for layer in layers})
    here = [layer for layer in layers if layer.index == index]
    require(bool(here), "off", f"layer {index}", f"a layer with experts: {known}")
    require(
        len(here) == 1,
        "off",
        f"layer {index}",
        "a layer with one set of experts; this one has several",
    )
    return here[0]


def _ban(layer: WatchedLayer, index: int, banned: list[int]) -> tuple[nn.Module, object]:
    """Let the router of one layer run under `_Banned`; returns it and the forward method set on it
    before, if any."""
    outside, router, total = layer.router_outside, layer.router, number_of_experts(layer)
    kind = type(router).__name__  # now: peft changes the class of what it adapts while it runs
    hopeless = router is None or kind in ("DogeCDMoE", "NllbMoeTop2Router")
    teachable = not hopeless and not hasattr(router, "tid2eid")  # the hash table of DeepSeek-V4
    require(
        teachable,
        "off",
        f"layer {index}, {kind}",
        "a router that can be told to avoid experts",
    )
    known = all(isinstance(expert, int) and 0 <= expert < total for expert in banned)
    require(known, "off", banned, f"experts of layer {index}: 0 to {total - 1}")
    k = _top_k(layer)
    require(
        total - len(banned) >= k,
        "off",
        f"{len(banned)} of {total} experts of layer {index}",
        f"at least {k} left, as every token needs {k}",
    )
    inner = [weight for name, weight in outside.named_parameters() if "lora_A" in name]
    mode = _Banned(banned, getattr(router, "num_router_classes", total), inner)
    forward = outside.forward

    def without_banned(*args, **kwargs):
        with mode:
            output = forward(*args, **kwargs)
        _check(kind, router, output, banned, index)
        return output

    before = vars(outside).get("forward")
    outside.forward = without_banned
    return outside, before


def number_of_experts(layer: WatchedLayer) -> int:
    for module in (layer.experts, layer.router, layer.block):
        for name in ("total_experts", "num_experts"):
            if isinstance(getattr(module, name, None), int):
                return getattr(module, name)
    raise ValueError(f"off: got {layer.name}; wants a layer that says how many experts it has")


def _top_k(layer: WatchedLayer) -> int:
    for module in (layer.router, layer.block, getattr(layer.router, "config", None)):
        for name in ("top_k", "top_k_experts"):
            if isinstance(getattr(module, name, None), int):
                return getattr(module, name)
    return 1


def _check(kind: str, router: nn.Module, output, banned: list[int], index: int) -> None:
    """ValueError if a banned expert was chosen all the same by a router of the class `kind`."""
    if kind in ADAPTERS:
        choice = ADAPTERS[kind](router, output)
        experts, weights = choice.experts, choice.weights
    elif isinstance(output, tuple) and len(output) >= 3:
        _, weights, experts, *_ = output
    else:  # logits alone
        weights, experts = output, output.argmax(-1)
    found = torch.isin(experts, torch.tensor(banned, device=experts.device))
    if weights.shape == experts.shape:
        found = found & (weights != 0)
        require(
            bool(weights.isfinite().all()),
            "off",
            f"layer {index}",
            "weights that are numbers without them",
        )
    require(
        not found.any(),
        "off",
        f"layer {index}, {kind}",
        "a router that can do without these experts; it chose one of them all the same",
    )
