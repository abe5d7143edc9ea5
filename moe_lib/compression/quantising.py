"""A model in few bits: experts, router and the rest, each in as many as one likes.

What runs is a LanguageModel with the weights that the few bits stand for, in float32: the loss and
the routing are those of the quantised model, and its file is small; its memory is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from moe_lib.compression.bit_packing import WIDTHS
from moe_lib.compression.gptq import gptq_stack
from moe_lib.compression.rounding import QuantisedWeight, quantise_weight
from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.modules import bare
from moe_lib.shapes_only import shapes_only
from moe_lib.training.checkpoint_checks import require_finite, require_plain
from moe_lib.validation import Choice, Count, checked

METHODS = ("nearest", "hqq", "gptq")
PARTS = ("experts", "router", "rest")


@dataclass(frozen=True)
class QuantisedModel:
    """A model in few bits.

    model    LanguageModel in eval mode, with the weights that the bits stand for
    weights  {name in its state dict: QuantisedWeight}; the others are kept as they are
    """

    model: LanguageModel
    weights: Mapping[str, QuantisedWeight]

    def n_bytes(self) -> dict[str, int]:
        """Bytes of each part of `PARTS` in its file, and of "kept": norms, biases, and what was not
        quantised of the parts counts with its part."""
        found = dict.fromkeys((*PARTS, "kept"), 0)
        for name, tensor in stored_tensors(self.model).items():
            quantised = self.weights.get(name)
            size = quantised.n_bytes if quantised else tensor.numel() * tensor.element_size()
            found[part_of(name, tensor) or "kept"] += size
        return found


def part_of(name: str, tensor: torch.Tensor) -> str | None:
    """The part that a tensor of a LanguageModel belongs to: "experts" are the routed ones, "rest"
    all other matrices, shared experts among them; None for norms, biases and tables, which stay."""
    if tensor.dim() < 2 or not tensor.is_floating_point():
        return None
    if ".feed_forward.experts." in name:
        return "experts"
    return "router" if ".feed_forward.router." in name else "rest"


def stored_tensors(model: LanguageModel) -> dict[str, torch.Tensor]:
    """The state dict without what is stored under another name: a tied head."""
    tensors = model.state_dict()
    if model.config.tie_word_embeddings:
        del tensors["head.weight"]
    return tensors


@checked
@torch.no_grad()
def quantise(
    model: nn.Module,
    bits: Mapping[str, int | None],
    *,
    method: Choice(*METHODS) = "nearest",
    group_size: Count = 32,
    squares: Mapping[str, torch.Tensor] | None = None,
) -> QuantisedModel:
    """Quantise the parts of a LanguageModel that `bits` names, {"experts": 4, "router": 8, "rest":
    None}: to 8, 4, 3 or 2 bits; None, or a part that is not named, stays.

    method      "nearest" or "hqq" (see `rounding`), or "gptq" (see `gptq`): this one needs data
    group_size  weights with one scale and zero in common
    squares     for "gptq": what `input_squares` gave for this model; a matrix that it does not name
                is rounded by "hqq"

    Raises TypeError for another model, ValueError for a changed one, an unknown part, other bits,
    or weights that are not finite.
    """
    model = bare(model)
    require_plain("model", model)
    unknown = sorted(set(bits) - set(PARTS))
    require(not unknown, "bits", unknown, f"parts out of {', '.join(PARTS)}")
    for part, width in bits.items():
        require(
            width is None or width in WIDTHS, f"bits[{part!r}]", width, f"None or one of {WIDTHS}"
        )
    tensors = stored_tensors(model)
    require_finite("model", tensors)
    needs = (method == "gptq") == (squares is not None)
    require(needs, "squares", squares, 'what input_squares gives with "gptq", None with the others')
    weights = {}
    for name, tensor in tensors.items():
        if width := bits.get(part_of(name, tensor)):
            if name in (squares or {}):
                weights[name] = gptq_stack(tensor, squares[name], width, group_size)
            else:
                plain = "hqq" if method == "gptq" else method
                weights[name] = quantise_weight(tensor, width, group_size, plain)
    return QuantisedModel(model_of(model.config, tensors, weights), weights)


def model_of(config, tensors: Mapping[str, torch.Tensor], weights: Mapping) -> LanguageModel:
    """The LanguageModel of these tensors, with those in `weights` as their bits have them."""
    ready = {
        name: tensor.detach().clone() for name, tensor in tensors.items() if name not in weights
    }
    ready |= {name: weight.dequantised() for name, weight in weights.items()}
    with shapes_only():
        model = LanguageModel(config)
    if config.tie_word_embeddings:
        ready["head.weight"] = ready["embedding.weight"]
    model.load_state_dict(ready, assign=True)
    if config.tie_word_embeddings:
        model.head.weight = model.embedding.weight
    return model.requires_grad_().eval()
