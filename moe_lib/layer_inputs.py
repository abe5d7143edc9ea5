"""The checks of what a layer of the model is given when it is called by itself.

They compare types and shapes, and make a message only where something is wrong: layers call them at
every pass. Each raises a TypeError for another type and a ValueError for another value.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_bool, require_divisor, require_number, require_whole
from moe_lib.validation import require_tensor

if TYPE_CHECKING:
    from moe_lib.config import ModelConfig


def check_rotary(head_dim: int, theta: float, scaling: dict | None) -> None:
    """Sizes of rotary positions: pairs of numbers, a base above 1, None or complete settings."""
    require_whole("head_dim", head_dim)
    require(head_dim % 2 == 0, "head_dim", head_dim, "an even number: pairs are turned")
    require_number("theta", theta, above=1)
    complete = scaling is None or (isinstance(scaling, dict) and "truncate" in scaling)
    require(complete, "scaling", scaling, "None, or a ModelConfig's rope_scaling")


def check_turn(x: Tensor, angles: Tensor) -> None:
    """x (batch, heads, sequence, head_dim), and an angle for every pair of numbers of it."""
    tensors = isinstance(x, Tensor) and isinstance(angles, Tensor)
    if tensors and x.dim() == 4 and angles.dim() == 3:  # a message costs more than comparisons
        batch, _, sequence, width = x.shape
        fits = angles.shape[0] in (1, batch) and angles.shape[1] in (1, sequence)
        if fits and angles.shape[2] == width / 2:
            return
    require_tensor("x", x, ("batch", "heads", "sequence", "head_dim"), "floating")
    require_tensor("angles", angles, ("batch", "sequence", "head_dim / 2"), "floating")
    width = 2 * angles.shape[-1]
    require(x.shape[-1] == width, "x", tuple(x.shape), f"a width of {width}, twice the angles'")
    wants = f"batch 1 or {len(x)}, and sequence 1 or {x.shape[2]}, as x has"
    require(False, "angles", tuple(angles.shape), wants)


def check_visible(causal: bool, queries: int, attention_mask: Tensor | None, past: int) -> None:
    """What the keys that a query may see follow from."""
    require_bool("causal", causal)
    require_whole("queries", queries)
    require_whole("past", past, at_least=0)
    if attention_mask is not None:
        require_tensor("attention_mask", attention_mask, ("batch", past + queries))


def check_input(x: Tensor, width: int, module: nn.Module | None = None) -> None:
    """x (..., width) of floating-point numbers, in the type and on the device of the module's
    weight. A few comparisons where all is well: layers call this at every pass."""
    if torch.compiler.is_compiling():
        return
    weight = None if module is None else module._parameters.get("weight")
    if isinstance(x, Tensor) and x.shape[-1:] == (width,) and x.is_floating_point():
        if weight is None or (x.dtype == weight.dtype and x.device == weight.device):
            return
    require_tensor("x", x, dtype="floating")
    fits = x.dim() >= 1 and x.shape[-1] == width
    require(fits, "x", tuple(x.shape), f"a last dimension of {width}, which this layer is made for")
    check_like(x, weight)


def check_like(x: Tensor, weight: Tensor | None) -> None:
    """x must be where the weight is, and of its type: unless autocast sees to that, or a method
    has put something else in its place."""
    if type(weight) is not nn.Parameter or not weight.is_floating_point():
        return
    where, wants = f"a tensor on {x.device}", f"one on {weight.device}, as the weights"
    require(x.device == weight.device, "x", where, wants)
    fits = x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type)
    require(fits, "x", x.dtype, f"{weight.dtype}, as the weights", TypeError)


def check_experts(x: Tensor, routing: object, gate_up_proj: Tensor, down_proj: Tensor) -> None:
    """x (tokens, d), the Routing of these tokens, gate_up_proj (E, 2I, d) and down_proj (E, d, I).
    Comparisons of shapes, as every way to run experts calls this."""
    if torch.compiler.is_compiling():  # a shape that is not known yet would become a guard
        return
    named = hasattr(routing, "kept") and hasattr(routing, "n_experts")
    require(named, "routing", type(routing).__name__, "a Routing", TypeError)
    require_tensor("x", x, (len(routing.experts), "d"), "floating")
    n_experts, d = routing.n_experts, x.shape[1]
    if gate_up_proj.dim() == down_proj.dim() == 3 and gate_up_proj.shape[2] == down_proj.shape[1]:
        width = down_proj.shape[1]
        require(
            d == width, "x", tuple(x.shape), f"a last dimension of {width}, as the experts have"
        )
    fits = gate_up_proj.dim() == 3 and gate_up_proj.shape[::2] == (n_experts, d)
    wants = f"shape ({n_experts}, 2 · I, {d}), for the experts of routing and the width of x"
    require(fits, "gate_up_proj", tuple(gate_up_proj.shape), wants)
    wanted = (n_experts, d, gate_up_proj.shape[1] // 2)
    fits = down_proj.shape == wanted
    require(fits, "down_proj", tuple(down_proj.shape), f"shape {wanted}, as gate_up_proj has it")
    check_like(x, gate_up_proj)


def check_vectors(
    x: Tensor,
    hidden_size: int,
    input_ids: Tensor | None,
    mask: Tensor | None,
    experts: nn.Module | None = None,
) -> None:
    """x (..., hidden_size) of floating-point numbers, like the weights of `experts`, and one id and
    one mark for each vector."""
    require_tensor("x", x, dtype="floating")
    fits = x.dim() >= 1 and x.shape[-1] == hidden_size
    require(fits, "x", tuple(x.shape), f"a last dimension of hidden_size ({hidden_size})")
    if experts is not None:
        check_like(x, experts._parameters.get("gate_up_proj"))
    if input_ids is not None:
        require_tensor("input_ids", input_ids, x.shape[:-1], "whole")
    if mask is not None:  # a floating-point one may be additive: 0 at real tokens
        require_tensor("mask", mask, x.shape[:-1], (torch.bool, "whole"), x.device)


def check_attention(config: "ModelConfig", kind: str, layer: int) -> None:
    wants = f'a ModelConfig with attention "{kind}"'
    require(config.attention == kind, "config", f'attention "{config.attention}"', wants)
    layers = config.num_hidden_layers
    require(layer < layers, "layer", layer, f"one of the model's {layers}, counted from 0")


def check_cache_entry(layer: object, new: object, held: int) -> None:
    """What is the first that a cache keeps of a layer: the layers come in their order, and each
    brings (batch, heads, positions, width)."""
    require_whole("layer", layer, at_least=0)
    require(layer <= held, "layer", layer, f"at most {held}, the next of the layers")
    require_tensor("key", new, ("batch", "heads", "positions", "width"), "floating")


def check_routing(routing: object) -> None:
    """The fields of a Routing, all of the same tokens: see there."""
    size, choices = ("tokens", "E"), ("tokens", "k")
    kinds = {"experts": ("whole", choices), "weights": ("floating", choices)}
    kinds |= {"scores": ("floating", size), "logits": ("floating", size)}
    kinds |= {"kept": (bool, choices), "chosen": (bool, choices)}
    fits = isinstance(routing.experts, Tensor) and routing.experts.dim() == 2
    tokens, k = routing.experts.shape if fits else choices
    for name, (dtype, shape) in kinds.items():
        value = getattr(routing, name)
        if value is not None or name != "chosen":
            wanted = (tokens, k) if shape is choices else (tokens, "E")
            require_tensor(name, value, wanted, dtype)


def check_tokens(x: Tensor, router: nn.Module, input_ids, mask, n_sequences: int) -> None:
    """What a router is given: the vectors of n_sequences sequences, (tokens, hidden_size)."""
    hidden_size, weight = router.hidden_size, router._parameters.get("weight")
    check_vectors(x, hidden_size, input_ids, mask)
    there = weight is None or x.device == weight.device  # of any type: it computes in float32
    require(there, "x", f"a tensor on {x.device}", "one where the router's weights are")
    require(x.dim() == 2, "x", tuple(x.shape), f"shape (tokens, hidden_size ({hidden_size}))")
    require_divisor("n_sequences", n_sequences, len(x), "the number of tokens")


def checked_marks(mask: Tensor, tokens: int) -> Tensor:
    """mask (tokens,), as bool; a floating-point one may be additive, and is refused."""
    require_tensor("mask", mask, (tokens,))
    require_tensor("mask", mask, dtype=(torch.bool, "whole"))
    if mask.dtype != torch.bool:
        require_tensor("mask", mask, low=0, high=1)
    return mask.bool()
