"""A model without weights, to be given a file's: its shapes alone, at no cost."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode


class _NoFilling(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"]  # as it came; torch.nn.init passes everything by name
        return function(*args, **(kwargs or {}))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, new tensors are on the device "meta": no memory, and no random number is drawn.

    torch.device("meta") alone draws its random numbers, of which nothing remains, by a way that
    imports torch's compiler: as much work as importing torch itself.
    """
    with torch.device("meta"), _NoFilling():
        yield
