"""Traces on disk: one safetensors file, its tensors and a JSON header. Nothing is ever
unpickled."""

import json
from pathlib import Path

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.files import read_tensors, write_tensors
from moe_lib.tracing.trace import UNKNOWN_TOKEN, LayerTrace, RoutingTrace
from moe_lib.validation import Count, Natural, PathLike, Text, Texts, checked, require_tensor

FILE_NAME = "trace.safetensors"
_FORMAT = "moe_lib routing trace 1"
_PARTS = ("layers", "attention_layers")
_FACTS = ("name", "index", "n_experts", "shared")
_MOST_LAYERS = 10_000  # where a trace does not say how many its model has
_LATER_FACTS = ("n_shared", "n_group", "topk_group")


@checked
def save_trace(trace: RoutingTrace, path: PathLike) -> Path:
    """Write a trace and return the file: `path` itself if it ends in .safetensors, else
    trace.safetensors in it.

    A crash leaves the old file or the new one, never half of one. Raises ValueError for a trace
    whose parts do not fit together or hold a NaN.
    """
    header = {"domains": trace.domains, "n_layers": trace.n_layers}
    for part in _PARTS:
        header[part] = [
            {name: getattr(layer, name) for name in (*_FACTS, *_LATER_FACTS)} | _missing(layer)
            for layer in getattr(trace, part)
        ]
    check_trace(trace)
    tensors = {name: _small(name, tensor) for name, tensor in _tensors(trace).items()}
    target = _file(path)
    write_tensors(target, tensors, {"format": _FORMAT, "trace": json.dumps(header)})
    return target


@checked
def load_trace(path: PathLike) -> RoutingTrace:
    """Read what `save_trace` wrote: a .safetensors file, or the folder that holds
    trace.safetensors.

    Raises FileNotFoundError for a missing file, ValueError naming the file for one that is damaged,
    is no trace, or does not fit together.
    """
    source = _file(path)
    if not source.is_file():
        raise FileNotFoundError(
            f"{source}: no such file; wants a trace written by RoutingTrace.save"
        )
    tensors, metadata = read_tensors(source)
    if metadata.get("format") != _FORMAT:
        raise ValueError(f'{source}: not a routing trace (its header does not say "{_FORMAT}")')
    try:
        header = json.loads(metadata["trace"])
        require(isinstance(header, dict), "trace", header, "a JSON object", TypeError)
        trace = _trace(tensors, **header)
        check_trace(trace)
    except KeyError as error:
        raise ValueError(f"{source}: not a whole routing trace (has no {error})") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{source}: not a whole routing trace ({error})") from error
    return trace


def _missing(layer: LayerTrace) -> dict[str, list[str]]:
    """What nobody recorded of a layer, so that a file without it is known to be whole."""
    names = [name for name in ("weights", "scores") if getattr(layer, name) is None]
    return {"missing": names} if names else {}


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def _small(name: str, tensor: Tensor) -> Tensor:
    """A copy, as safetensors refuses tensors that share memory; no model has more experts than 32
    bits count."""
    return tensor.to(torch.int32 if name.endswith(".experts") else tensor.dtype, copy=True)


@checked
def _trace(
    tensors: dict,
    domains: Texts | None,
    n_layers: Count | None,
    layers: list[dict],
    attention_layers: list[dict],
) -> RoutingTrace:
    parts = [
        [_layer(f"{part}.{number}.", tensors, **entry) for number, entry in enumerate(entries)]
        for part, entries in zip(_PARTS, (layers, attention_layers), strict=True)
    ]
    ids, real = tensors["input_ids"], tensors["real"]
    trace = RoutingTrace(parts[0], ids, real, domains, tuple(parts[1]), n_layers)
    stray = sorted(set(tensors) - set(_tensors(trace)))
    require(not stray, "tensors", stray, "only those of the layers that the header names")
    return trace


def _tensors(trace: RoutingTrace) -> dict[str, Tensor]:
    """All tensors of a trace, by their names in the file."""
    found = {"input_ids": trace.input_ids, "real": trace.real}
    for part in _PARTS:
        for number, layer in enumerate(getattr(trace, part)):
            found |= {f"{part}.{number}.{name}": t for name, t in layer.tensors().items()}
    return found


@checked
def _layer(
    prefix: str,
    tensors: dict,
    name: Text,
    index: Natural,
    n_experts: Count,
    shared: bool,
    n_shared: Natural = LayerTrace.n_shared,  # older files do not say
    n_group: Count = LayerTrace.n_group,
    topk_group: Count = LayerTrace.topk_group,
    missing: Texts = (),
) -> LayerTrace:
    own = {
        place.removeprefix(prefix): tensor
        for place, tensor in tensors.items()
        if place.startswith(prefix)
    }
    for numbers in {"weights", "scores"} - set(missing):
        own[numbers]  # KeyError: the file is cut
    own["experts"] = own["experts"].long() if _is_whole(own["experts"]) else own["experts"]
    groups = {"n_group": n_group, "topk_group": topk_group}
    return LayerTrace(name, index, n_experts, shared=shared, n_shared=n_shared, **groups, **own)


def _is_whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and tensor.dtype != torch.bool


def check_trace(trace: RoutingTrace) -> None:
    """ValueError or TypeError naming the layer and the field for tensors that do not fit
    together, or hold numbers that are not finite at a real token."""
    shape = tuple(trace.input_ids.shape)
    recorded = all(layer.scores is not None for layer in trace.layers)  # by a model, with its ids
    low = 0 if recorded else UNKNOWN_TOKEN
    require_tensor("input_ids", trace.input_ids, dtype="whole", low=low)
    for part in (trace.layers, trace.attention_layers):
        numbers = [layer.index for layer in part]
        require(len(set(numbers)) == len(numbers), "layers", numbers, "each number once")
        limit = _MOST_LAYERS if trace.n_layers is None else trace.n_layers
        inside = all(0 <= number < limit for number in numbers)
        require(
            inside, "layers", numbers, f"numbers from 0 to {limit - 1} (n_layers {trace.n_layers})"
        )
    for layer in (*trace.layers, *trace.attention_layers):
        require_tensor(f"{layer.name} experts", layer.experts, (*shape, "k"))
        k = layer.experts.shape[-1]
        kinds = {"experts": "whole", "weights": "floating", "scores": "floating"}
        for name, tensor in layer.tensors().items():
            wanted = (*shape, layer.n_experts if name == "scores" else k)
            require_tensor(f"{layer.name} {name}", tensor, wanted, kinds.get(name, bool))
            if name in ("weights", "scores"):
                require_tensor(f"{layer.name} {name}", tensor[trace.real], finite=True)
        require_tensor(f"{layer.name} experts", layer.experts, low=0, high=layer.n_experts - 1)
        _check_choices(layer, trace.real)


def _check_choices(layer: LayerTrace, real: Tensor) -> None:
    """Groups that divide the experts, and no expert twice among the choices of a real token."""
    name, groups = layer.name, layer.n_group
    wants = f"a divisor of n_experts ({layer.n_experts})"
    require(groups >= 1 and layer.n_experts % groups == 0, f"{name} n_group", groups, wants)
    fits = 1 <= layer.topk_group <= groups
    require(fits, f"{name} topk_group", layer.topk_group, f"1 to n_group ({groups})")
    if layer.experts.shape[-1] > 1:
        # Columns without a choice count as experts of their own, -1, -2, …
        none = -1 - torch.arange(layer.experts.shape[-1])
        chosen = torch.where(layer.choices(real), layer.experts, none).sort(-1).values
        twice = int((chosen[..., 1:] == chosen[..., :-1]).any(-1).sum())
        wants = "different experts for each token"
        require(twice == 0, f"{name} experts", f"an expert twice at {twice} tokens", wants)
