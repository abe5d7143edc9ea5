"""How a tensor is stored: as numbers, or quantised; told by classes and types, so that nobody's
package has to be imported."""

import math

import torch
from torch import Tensor, nn

_FLOAT8 = {getattr(torch, name) for name in dir(torch) if name.startswith("float8_")}
_SMALL = {torch.int8: "int8", torch.uint8: "packed uint8"}
_PACKED = ("qweight", "weight_packed")  # of GPTQ, AWQ and compressed-tensors: buffers, int32
_CLASSES = {"Params4bit": "bitsandbytes 4 bits", "Int8Params": "bitsandbytes int8"}


def quantised_format(tensor: Tensor) -> str:
    """In words how `tensor` is quantised; "" for one of ordinary numbers."""
    kind = type(tensor)
    if kind.__name__ in _CLASSES:
        return _CLASSES[kind.__name__]
    if kind.__name__ == "GGUFParameter":
        stored = getattr(tensor, "quant_type", None)
        return f"GGUF {getattr(stored, 'name', stored)}" if stored is not None else "GGUF"
    package = kind.__module__.split(".")[0]
    if package in ("torchao", "quanto", "optimum"):
        return f"{package} {kind.__name__}"
    if tensor.dtype in _FLOAT8:
        return str(tensor.dtype).removeprefix("torch.")
    return _SMALL.get(tensor.dtype, "")


def n_weights(tensor: Tensor) -> int:
    """The weights that a tensor stands for: more than its entries where several share a byte."""
    shape = getattr(getattr(tensor, "quant_state", None), "shape", None)
    shape = getattr(tensor, "quant_shape", None) if shape is None else shape
    return math.prod(shape) if shape is not None else tensor.numel()


def packed_buffers(module: nn.Module) -> list[tuple[str, int, str]]:
    """(name, weights, format) of the buffers in which a module keeps packed weights."""
    found = []
    for name in _PACKED:
        buffer = module._buffers.get(name)
        if buffer is not None and buffer.dtype in (torch.int32, torch.uint8, torch.int8):
            bits = getattr(module, "bits", getattr(module, "w_bit", None))
            held = torch.iinfo(buffer.dtype).bits
            whole = isinstance(bits, int) and 0 < bits <= held
            words = f"{type(module).__name__} {bits} bits" if whole else type(module).__name__
            found.append((name, buffer.numel() * held // bits if whole else buffer.numel(), words))
    return found
