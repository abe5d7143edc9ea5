"""A RoutingTrace from arrays of expert numbers, (tokens, MoE layers, k) for each text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.engines.moe_layers import MoELayers
from moe_lib.tracing.trace import UNKNOWN_TOKEN, LayerTrace, RoutingTrace
from moe_lib.validation import Count, Natural, checked

_LARGEST_EXPERT = 2**16 - 1  # no model has more; a larger number is a damaged answer


@checked
def trace_from_arrays(
    experts: Any,
    input_ids: Any = None,
    *,
    weights: Any = None,
    n_experts: Count | None = None,
    layers: Sequence[Natural] | None = None,
    config: Any = None,
    domains: Sequence[str] | None = None,
) -> RoutingTrace:
    """See `RoutingTrace.from_arrays`."""
    texts = [
        whole_array(name, one, "(tokens, MoE layers, k)") for name, one in _each("experts", experts)
    ]
    outline = {one.shape[1:] for one in texts}
    require(len(outline) == 1, "experts", sorted(outline), "the same layers and k in every text")
    n_layers, k = texts[0].shape[1:]
    require(n_layers > 0 and k > 0, "experts", texts[0].shape, "at least one layer and one choice")
    require(any(map(len, texts)), "experts", tuple(texts[0].shape), "at least one token")
    ids = _ids(input_ids, [len(one) for one in texts])
    found = MoELayers.of(config, n_layers, layers, n_experts, max(_largest(one) for one in texts))
    _check_numbers(texts, found, k)
    given = None if weights is None else _weights(weights, texts)
    return _trace(texts, ids, given, found, domains)


def _each(argument: str, value: Any) -> list[tuple[str, Any]]:
    """(name, array) of each text: `value` is one array (tokens, layers, k), a batch of them with a
    dimension more, or a list of arrays that may differ in length."""
    if isinstance(value, np.ndarray | Tensor):
        require(value.ndim in (3, 4), argument, tuple(value.shape), "(tokens, MoE layers, k)")
        rows = [value] if value.ndim == 3 else list(value)
    else:
        wants = "arrays or nested lists (tokens, MoE layers, k)"
        require(isinstance(value, list | tuple), argument, type(value).__name__, wants, TypeError)
        deep = len(value) > 0 and _depth(value[0]) >= 3
        rows = list(value) if deep else [value]
    require(len(rows) > 0, argument, "no text", "at least one text")
    return [(argument if len(rows) == 1 else f"{argument}[{n}]", one) for n, one in enumerate(rows)]


def _depth(value: Any) -> int:
    """How many dimensions an array or nested list has, by its first entries."""
    if hasattr(value, "ndim"):
        return value.ndim
    return 1 + _depth(value[0]) if isinstance(value, list | tuple) and len(value) else 0


def whole_array(argument: str, value: Any, wants: str) -> Tensor:
    """`value` as (tokens, layers, k) int64. Raises TypeError or ValueError naming the argument."""
    try:
        found = np.asarray(value.cpu() if isinstance(value, Tensor) else value)
    except (ValueError, OverflowError):
        found = np.asarray(None)
    require(found.dtype != object, argument, "rows of different lengths", f"an array {wants}")
    require(found.ndim == 3, argument, found.shape, f"an array {wants}")
    whole = np.issubdtype(found.dtype, np.integer)
    require(whole, argument, str(found.dtype), "whole numbers of experts", TypeError)
    return torch.from_numpy(found.astype(np.int64))


def _largest(text: Tensor) -> int:
    return int(text.max()) if text.numel() else -1


def _check_numbers(texts: list[Tensor], layers: MoELayers, k: int) -> None:
    known = layers.n_experts
    for number, text in enumerate(texts):
        for place, index in enumerate(layers.indices):
            here = text[:, place]
            if not here.numel():
                continue
            low, high = int(here.min()), int(here.max())
            wants = f"experts from 0 to {known - 1} in layer {index}"
            require(low >= 0, f"experts of text {number}", low, wants)
            require(
                high < min(known, _LARGEST_EXPERT + 1), f"experts of text {number}", high, wants
            )
            ordered = here.sort(-1).values
            twice = (ordered[:, 1:] == ordered[:, :-1]).any(-1).nonzero()
            first = int(twice[0]) if len(twice) else 0
            wants = f"{k} different experts per token in layer {index} (token {first})"
            require(not len(twice), f"experts of text {number}", here[first].tolist(), wants)


def _ids(input_ids: Any, lengths: list[int]) -> list[Tensor]:
    """The token ids of each text: as many as have routing, or one more, the last one an engine
    wrote and never read."""
    if input_ids is None:
        return [torch.full((length,), UNKNOWN_TOKEN) for length in lengths]
    listed = isinstance(input_ids, list | tuple | np.ndarray | Tensor)
    wants = "token ids, a list for each text"
    require(listed, "input_ids", type(input_ids).__name__, wants, TypeError)
    flat = len(lengths) == 1 and _depth(input_ids) == 1
    rows = [input_ids] if flat else list(input_ids)
    require(len(rows) == len(lengths), "input_ids", f"{len(rows)} texts", f"{len(lengths)}")
    found = []
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        name = "input_ids" if len(rows) == 1 else f"input_ids[{number}]"
        ids = np.asarray(row.cpu() if isinstance(row, Tensor) else row)
        whole = ids.ndim == 1 and (np.issubdtype(ids.dtype, np.integer) or ids.size == 0)
        require(whole, name, row, "a flat list of whole numbers, the token ids", TypeError)
        least = int(ids.min()) if ids.size else 0
        wants = f"token ids of at least 0, or {UNKNOWN_TOKEN} for an unknown token"
        require(least >= UNKNOWN_TOKEN, name, least, wants)
        fits = len(ids) in (length, length + 1)
        wants = f"as many as tokens with routing ({length}), or one more: the last one written"
        require(fits, name, f"{len(ids)} tokens", wants)
        found.append(torch.from_numpy(ids.astype(np.int64)))
    return found


def _weights(weights: Any, texts: list[Tensor]) -> list[Tensor]:
    rows = _each("weights", weights)
    require(len(rows) == len(texts), "weights", f"{len(rows)} texts", f"{len(texts)}")
    found = []
    for (name, one), text in zip(rows, texts, strict=True):
        numbers = np.asarray(one.cpu() if isinstance(one, Tensor) else one)
        real = np.issubdtype(numbers.dtype, np.number)
        require(real, name, str(numbers.dtype), "numbers", TypeError)
        tensor = torch.from_numpy(numbers.astype(np.float32))
        require(tensor.shape == text.shape, name, tuple(tensor.shape), f"{tuple(text.shape)}")
        require(bool(tensor.isfinite().all()), name, "NaN or infinity", "finite numbers")
        found.append(tensor)
    return found


def _trace(
    texts: list[Tensor],
    ids: list[Tensor],
    weights: list[Tensor] | None,
    found: MoELayers,
    domains: Sequence[str] | None,
) -> RoutingTrace:
    """One batch, shorter texts with padding at the end."""
    real = _stacked([torch.ones(len(one), dtype=torch.bool) for one in ids])
    experts, length = _stacked(texts), real.shape[1]
    if experts.shape[1] < length:  # the last token of every text was never read
        experts = _stacked([*experts, experts.new_zeros(length, *experts.shape[2:])])[:-1]
    routed = _stacked([*(torch.ones(len(one), dtype=torch.bool) for one in texts), real[0]])[:-1]
    unread = bool((real & ~routed).any())
    every = None if weights is None else _stacked([*weights, experts[0].float()])[:-1]
    layers = [
        LayerTrace(
            name,
            index,
            found.n_experts,
            experts[:, :, place].clone(),
            None if every is None else every[:, :, place].clone(),
            None,
            chosen=routed[..., None].expand(*routed.shape, experts.shape[-1]).clone()
            if unread
            else None,
            n_shared=found.n_shared,
            shared=found.n_shared > 0,
        )
        for place, (index, name) in enumerate(zip(found.indices, found.names, strict=True))
    ]
    named = None if domains is None else tuple(domains)
    return RoutingTrace(layers, _stacked(ids), real, named, (), found.n_layers)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows of different lengths below each other, filled up with zeros (False)."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
