"""The checks of what a model is given: token ids, masks, labels, prompts, hidden vectors.

Each raises a TypeError for another type and a ValueError for another value, by argument.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from moe_lib.counting import count_parameters
from moe_lib.errors import (
    require,
    require_texts,
    require_whole,
)
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
        bools = isinstance(tokens, list | tuple) and bool in set(map(type, tokens))
        require(not bools, name, tokens, wants, TypeError)
        array = np.asarray(tokens if len(tokens) else np.zeros(0, dtype=np.int64))
        require(array.dtype.kind in "iu" and array.ndim == 1, name, tokens, wants, TypeError)
        require(not len(array) or array.min() >= 0, name, tokens, wants)
        checked.append(array.astype(np.int64))
    return checked


def checked_columns(dataset: object, *columns: str) -> list[list[str]]:
    """These columns of a dataset, each a list of texts."""
    there = sorted(getattr(dataset, "column_names", ()))
    for column in columns:
        require(column in there, "dataset", f"columns {there}", f"a dataset with {column!r}")
        require_texts(f"dataset[{column!r}]", list(dataset[column]))
    return [list(dataset[column]) for column in columns]


def check_packed(packed: object) -> None:
    """The tensors of a Packed, one document for each token."""
    require_tensor("input_ids", packed.input_ids, ("n", "S"), "whole")
    require_tensor("documents", packed.documents, packed.input_ids.shape, "whole")


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
