"""Traces on disk: one safetensors file, its tensors and a JSON header. Nothing is ever
unpickled."""

import json
from pathlib import Path

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.files import read_tensors, write_tensors
from moe_lib.tracing.trace import LayerTrace, RoutingTrace

FILE_NAME = "trace.safetensors"
_FORMAT = "moe_lib routing trace 1"
_PARTS = ("layers", "attention_layers")
_FACTS = ("name", "index", "n_experts", "shared")
_LATER_FACTS = ("n_shared", "n_group", "topk_group")  # older files do not say


def save_trace(trace: RoutingTrace, path: str | Path) -> Path:
    """Write a trace and return the file: `path` itself if it ends in .safetensors, else
    trace.safetensors in it.

    A crash leaves the old file or the new one, never half of one.
    """
    require(
        isinstance(trace, RoutingTrace), "trace", type(trace).__name__, "a RoutingTrace", TypeError
    )
    tensors = {name: _small(name, getattr(trace, name)) for name in ("input_ids", "real")}
    header = {"domains": trace.domains, "n_layers": trace.n_layers}
    for part in _PARTS:
        header[part] = [
            {name: getattr(layer, name) for name in (*_FACTS, *_LATER_FACTS)}
            for layer in getattr(trace, part)
        ]
        for number, layer in enumerate(getattr(trace, part)):
            tensors |= {
                f"{part}.{number}.{name}": _small(name, t) for name, t in layer.tensors().items()
            }
    target = _file(path)
    write_tensors(target, tensors, {"format": _FORMAT, "trace": json.dumps(header)})
    return target


def load_trace(path: str | Path) -> RoutingTrace:
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
        parts = [
            [
                _layer(tensors, f"{part}.{number}.", entry)
                for number, entry in enumerate(header[part])
            ]
            for part in _PARTS
        ]
        ids, real, domains = tensors["input_ids"], tensors["real"], header["domains"]
        trace = RoutingTrace(
            parts[0],
            ids,
            real,
            None if domains is None else tuple(domains),
            tuple(parts[1]),
            header["n_layers"],
        )
        _check(trace)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: not a whole routing trace ({error})") from error
    return trace


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def _small(name: str, tensor: Tensor) -> Tensor:
    """A copy, as safetensors refuses tensors that share memory; no model has more experts than 32
    bits count."""
    return tensor.to(torch.int32 if name == "experts" else tensor.dtype, copy=True)


def _layer(tensors: dict[str, Tensor], prefix: str, entry: dict) -> LayerTrace:
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    own["experts"] = own["experts"].long()
    later = {name: int(entry[name]) for name in _LATER_FACTS if name in entry}
    return LayerTrace(
        str(entry["name"]),
        int(entry["index"]),
        int(entry["n_experts"]),
        shared=bool(entry["shared"]),
        **later,
        **own,
    )


def _check(trace: RoutingTrace) -> None:
    shape = trace.input_ids.shape
    require(
        len(shape) == 2 and trace.real.shape == shape,
        "real",
        tuple(trace.real.shape),
        f"shape {tuple(shape)}",
    )
    for layer in (*trace.layers, *trace.attention_layers):
        k = layer.experts.shape[-1]
        for name, tensor in layer.tensors().items():
            wanted = (*shape, layer.n_experts if name == "scores" else k)
            require(
                tensor.shape == wanted,
                f"{layer.name} {name}",
                tuple(tensor.shape),
                f"shape {wanted}",
            )
        if layer.experts.numel():
            low, high = int(layer.experts.min()), int(layer.experts.max())
            within = 0 <= low and high < layer.n_experts
            require(
                within, f"{layer.name} experts", f"{low} to {high}", f"0 to {layer.n_experts - 1}"
            )
