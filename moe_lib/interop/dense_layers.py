"""Where a dense model of transformers has its feed-forward layers, and how they can be cut."""

import inspect
from dataclasses import dataclass

from torch import Tensor, nn

from moe_lib.errors import require

# What transformers calls the feed-forward layer of a block; BERT and its kin have it in two parts.
_NAMES = ("mlp", "ffn", "DenseReluDense", "feed_forward")


@dataclass(frozen=True)
class FeedForward:
    """One feed-forward layer.

    parent, name   where its replacement goes: the attribute `name` of this module
    module         (tokens, d) -> (tokens, d), without residual and norm
    hidden_size    d
    passes_on      the part before it that must hand on its input once `module` is replaced, as
                   (module, attribute); None where the layer is one module
    """

    parent: nn.Module
    name: str
    module: nn.Module
    hidden_size: int
    passes_on: tuple[nn.Module, str] | None = None

    def replace(self, module: nn.Module) -> None:
        setattr(self.parent, self.name, module)
        if self.passes_on is not None:
            setattr(*self.passes_on, nn.Identity())


class LinearPart:
    """A Linear, or GPT-2's Conv1D, which stores the transposed weight; `out_axis` says which axis
    of the weight counts outputs."""

    def __init__(self, module: nn.Module):
        self.module = module
        self.out_axis = 0 if isinstance(module, nn.Linear) else 1

    @property
    def weight(self) -> Tensor:
        return self.module.weight

    @property
    def bias(self) -> Tensor | None:
        return self.module.bias

    @property
    def sizes(self) -> tuple[int, int]:
        """(inputs, outputs)"""
        return self.weight.shape[1 - self.out_axis], self.weight.shape[self.out_axis]

    def cut(self, weight: Tensor) -> None:
        """Take another weight, and its sizes."""
        self.module.weight = nn.Parameter(weight.contiguous().clone())
        names = ("in_features", "out_features") if self.out_axis == 0 else ("nx", "nf")
        for name, size in zip(names, self.sizes, strict=True):
            setattr(self.module, name, size)

    def set_bias(self, bias: Tensor) -> None:
        self.module.bias = nn.Parameter(bias.clone())


def feed_forwards(model: nn.Module) -> list[FeedForward]:
    """The feed-forward layers of a model, in its order. ValueError naming the model's class if it
    has experts, or not all of its layers are of a kind that is known."""
    kind, found = type(model).__name__, []
    for module in model.modules():
        children = dict(module.named_children())
        got = f"{kind}, which has experts"
        require("experts" not in children, "model", got, "a dense model")
        first, last = children.get("intermediate"), children.get("output")
        if is_linear(getattr(first, "dense", None)) and is_linear(getattr(last, "dense", None)):
            whole = nn.Sequential(first, last.dense)
            width = LinearPart(last.dense).sizes[1]
            found.append(FeedForward(last, "dense", whole, width, (module, "intermediate")))
        for name in _NAMES:
            inner = children.get(name)
            if inner is not None and _maps_one_tensor(inner):
                width = _linears(inner)[-1].sizes[1]
                found.append(FeedForward(module, name, inner, width))
    wants = "a model whose feed-forward layers are modules of their own"
    require(bool(found), "model", kind, wants)
    blocks = getattr(model.config, "num_hidden_layers", None)
    got = f"{kind}, {len(found)} of whose feed-forward layers were found in {blocks} blocks"
    require(not isinstance(blocks, int) or len(found) % blocks == 0, "model", got, "all of them")
    return found


def linear_parts(module: nn.Module) -> tuple[list[LinearPart], LinearPart]:
    """(those that make the hidden units, the one that reads them) of a feed-forward layer.
    ValueError if they are not apart, as where gate and up are one matrix."""
    *inward, outward = _linears(module)
    hidden, out = outward.sizes
    fits = inward and all(part.sizes == (out, hidden) for part in inward)
    got = f"{type(module).__name__}, whose matrices are fused"
    require(bool(fits), "slices", got, "1 for this model")
    return inward, outward


def is_linear(module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _linears(module: nn.Module) -> list[LinearPart]:
    return [LinearPart(part) for part in module.modules() if is_linear(part)]


def _maps_one_tensor(module: nn.Module) -> bool:
    """Does its forward need one argument, and do its matrices lead from d back to d?"""
    linears = _linears(module)
    needed = [
        p
        for p in inspect.signature(module.forward).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    return len(linears) > 1 and len(needed) == 1 and linears[0].sizes[0] == linears[-1].sizes[1]
