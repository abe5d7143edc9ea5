"""The checks of what a model is given: token ids, masks, labels, prompts, hidden vectors.

Each raises a TypeError for another type and a ValueError for another value, by argument.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from moe_lib.counting import count_parameters
from moe_lib.errors import require, require_bool, require_divisor, require_number, require_whole
from moe_lib.validation import require_tensor

if TYPE_CHECKING:
    from moe_lib.config import ModelConfig
    from moe_lib.model.cache import KVCache


def check_ids(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    cache: "KVCache | None",
    config: "ModelConfig",
) -> None:
    """input_ids (batch, sequence) of the vocabulary, after the positions that the cache of a causal
    model holds, and attention_mask (batch, past + sequence) of 0 and 1, or None."""
    require_tensor("input_ids", input_ids, ("batch", "sequence"), (torch.int64, torch.int32))
    require(not input_ids.is_meta, "input_ids", "a tensor on meta", "one that holds numbers")
    got, wants = tuple(input_ids.shape), "shape (batch, sequence), neither of them 0"
    require(input_ids.numel() > 0, "input_ids", got, wants)
    _check_range("input_ids", "ids", input_ids, config.vocab_size)
    wants = "None: with attention in both directions a new token changes the old ones"
    require(cache is None or config.causal, "cache", "a cache for a masked model", wants)
    keeps = cache is None or (hasattr(cache, "length") and hasattr(cache, "append"))
    require(keeps, "cache", type(cache).__name__, "a KVCache, or None", TypeError)
    past = 0 if cache is None else cache.length
    held, layers = len(getattr(cache, "keys", ())), config.num_hidden_layers
    wants = f"keys of this model ({layers} layers)"
    require(held in (0, layers), "cache", f"keys of {held} layers", wants)
    end, limit = past + input_ids.shape[1], config.max_position_embeddings
    wants = f"at most max_position_embeddings ({limit})"
    require(end <= limit, "input_ids", f"{end} positions", wants)
    if attention_mask is not None:
        check_mask(attention_mask, (len(input_ids), end), input_ids.device)
        require_real(attention_mask)


def require_real(attention_mask: Tensor) -> None:
    """The mask of a batch that somebody is to read marks at least one real token."""
    real = bool(attention_mask.any())
    require(real, "attention_mask", "0 everywhere", "1 at the real tokens, at least one")


def check_mask(attention_mask: Tensor, shape: tuple[int, int], device=None) -> None:
    require_tensor("attention_mask", attention_mask, shape, device=device)
    if attention_mask.dtype != torch.bool:
        marks = bool(((attention_mask == 0) | (attention_mask == 1)).all())
        require(marks, "attention_mask", "other numbers", "0 and 1, or False and True")


def check_labels(labels: Tensor, input_ids: Tensor, config: "ModelConfig", ignored: int) -> None:
    """labels like input_ids: ids of the vocabulary or `ignored`, with at least one to predict."""
    require_tensor("labels", labels, input_ids.shape, torch.int64, input_ids.device)
    predicted = labels[:, 1:] if config.causal else labels
    used = predicted[predicted != ignored]
    got = f"{ignored} at every position that is predicted"
    require(used.numel() > 0, "labels", got, "at least one other label")
    _check_range("labels", "labels", used, config.vocab_size, f"{ignored}, or ")


def check_vocabulary(tokenizer: object, config: "ModelConfig") -> None:
    """No more tokens than the model has rows in its embedding."""
    size, tokens = config.vocab_size, len(tokenizer) if hasattr(tokenizer, "__len__") else 0
    wants = f"at most the model's vocab_size ({size}): use the tokenizer the model was trained with"
    require(tokens <= size, "tokenizer", f"{tokens} tokens", wants)


def _check_range(argument: str, word: str, ids: Tensor, size: int, besides: str = "") -> None:
    low, high = (int(end) for end in torch.aminmax(ids))
    wants = f"{besides}ids from 0 to {size - 1} (vocab_size {size})"
    require(0 <= low and high < size, argument, f"{word} from {low} to {high}", wants)


def check_prompt(
    model: object, input_ids: Tensor, max_new_tokens: int, attention_mask: Tensor | None
) -> None:
    """A prompt (batch, sequence) with room behind it for max_new_tokens, padded on the left."""
    config, wants = getattr(model, "config", None), "a causal LanguageModel"
    readable = callable(model) and hasattr(config, "causal")
    require(readable, "model", model, wants, TypeError)
    wants = "a causal one (config.causal = True) to generate"
    require(config.causal, "model", "a masked language model", wants)
    require_whole("max_new_tokens", max_new_tokens, at_least=0)
    check_ids(input_ids, attention_mask, None, config)
    limit = config.max_position_embeddings
    wants = f"at most {limit - input_ids.shape[1]}: the model has {limit} positions"
    fits = input_ids.shape[1] + max_new_tokens <= limit
    require(fits, "max_new_tokens", max_new_tokens, wants)
    if attention_mask is not None:
        wants = "padding on the left: the next token continues the last position"
        last_is_real = bool(attention_mask[:, -1].all())
        require(last_is_real, "attention_mask", "padding at the end of a prompt", wants)


def token_ids(argument: str, given: object, config: "ModelConfig") -> list[int]:
    """One id, or several in a list, set, tensor or array -> a list of ids of the vocabulary."""
    given = given.tolist() if hasattr(given, "tolist") else given
    several = list(given) if isinstance(given, Iterable) else [given]
    ids = [i.item() if hasattr(i, "item") else i for i in several]
    for i in ids:
        require_whole(argument, i, at_least=0)
        require(i < config.vocab_size, argument, i, f"ids below vocab_size ({config.vocab_size})")
    return ids


def checked_lists(token_lists: object) -> list[np.ndarray]:
    """Lists of token ids as int64 arrays; the error names the first that is none."""
    wants = "a list of lists of token ids, whole numbers of at least 0"
    a_list = isinstance(token_lists, list | tuple)
    require(a_list, "token_lists", token_lists, wants, TypeError)
    checked = []
    for place, tokens in enumerate(token_lists):
        name = f"token_lists[{place}]"
        a_list = hasattr(tokens, "__len__") and not isinstance(tokens, str | bytes | dict)
        require(a_list, name, tokens, wants, TypeError)
        array = np.asarray(tokens if len(tokens) else np.zeros(0, dtype=np.int64))
        require(array.dtype.kind in "iu" and array.ndim == 1, name, tokens, wants, TypeError)
        require(not len(array) or array.min() >= 0, name, tokens, wants)
        checked.append(array.astype(np.int64))
    return checked


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
        if (angles.shape[0] in (1, batch)) and angles.shape[1:] == (sequence, width / 2):
            return
    require_tensor("x", x, ("batch", "heads", "sequence", "head_dim"), "floating")
    require_tensor("angles", angles, ("batch", "sequence", "head_dim / 2"), "floating")
    width = 2 * angles.shape[-1]
    require(x.shape[-1] == width, "x", tuple(x.shape), f"a width of {width}, twice the angles'")
    wants = f"batch 1 or {len(x)}, and sequence {x.shape[2]}, as x has"
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


def require_memory(config: "ModelConfig") -> None:
    """ValueError for a model that is larger than this machine's memory, before any is asked for."""
    if torch.get_default_device().type != "cpu" or not hasattr(os, "sysconf"):
        return  # "meta" needs none; another device has its own memory, Windows its own ways
    n_parameters = count_parameters(config).total
    got = n_parameters * torch.get_default_dtype().itemsize
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    said, wants = (
        f"{n_parameters:,} parameters, {got / 1e9:,.1f} GB",
        f"at most {there / 1e9:,.1f} GB",
    )
    require(got <= there, "config", said, f"{wants}, the memory of this machine")


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
