"""The check of a tensor, in the same words as `moe_lib.validation`'s other checks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moe_lib.errors import require
from moe_lib.validation.blocks import range_words

if TYPE_CHECKING:
    from torch import Tensor


def require_tensor(
    name: str,
    value: "Tensor",
    shape: Sequence[str | int] | None = None,
    dtype: Any = None,
    device: Any = None,
    low: float | None = None,
    high: float | None = None,
    finite: bool = False,
) -> None:
    """`value` must be a tensor as described; TypeError or ValueError naming it `name`, if not.

    shape      one entry per dimension: a number, or a name for any size (the same name twice: the
               same size); a first entry "..." stands for any dimensions before the others
    dtype      "whole" (an integer type), "floating", torch.bool or bool, another torch.dtype; or a
               tuple of these
    device     the torch.device it must be on
    low, high  smallest and largest entry that is allowed; reading them waits for a GPU
    finite     no NaN and no infinity; waits as well
    """
    import torch  # here, so that a command line can check its arguments before torch is there

    kinds = dtype if isinstance(dtype, tuple) else () if dtype is None else (dtype,)
    words = " or ".join(_dtype_name(kind) for kind in kinds)
    wants = f"a tensor of {words}" if words else "a tensor"
    require(isinstance(value, torch.Tensor), name, value, wants, TypeError)
    fits = not kinds or any(_is_dtype(value, kind) for kind in kinds)
    require(fits, name, value.dtype, wants, TypeError)
    if shape is not None:
        text = f"shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        require(_has_shape(tuple(value.shape), tuple(shape)), name, tuple(value.shape), text)
    if device is not None:
        wanted = torch.device(device)
        same = value.device.type == wanted.type and wanted.index in (None, value.device.index)
        require(same, name, f"a tensor on {value.device}", f"one on {wanted}")
    if value.numel() == 0 or value.is_meta:
        return
    if finite:
        bad = int((~torch.isfinite(value)).sum())
        require(not bad, name, f"{bad} entries that are NaN or infinite", "finite numbers")
    for bound, entry, good in (
        (low, torch.amin, lambda least: least >= low),
        (high, torch.amax, lambda most: most <= high),
    ):
        if bound is not None:
            found = (value.long() if value.dtype == torch.bool else value).flatten()
            found = entry(found, 0).item()
            require(good(found), name, f"an entry of {found}", f"entries{range_words(low, high)}")


def _dtype_name(kind) -> str:
    names = {"whole": "whole numbers", "floating": "floating-point numbers", bool: "torch.bool"}
    return names.get(kind, str(kind))


def _is_dtype(value: "Tensor", kind) -> bool:
    if kind == "floating":
        return value.is_floating_point()
    text = str(value.dtype).removeprefix("torch.")
    if kind == "whole":
        return text.startswith(("int", "uint"))
    return text == ("bool" if kind is bool else str(kind).removeprefix("torch."))


def _has_shape(got: tuple, wanted: tuple) -> bool:
    if wanted[:1] == ("...",):
        wanted = wanted[1:]
        got = got[len(got) - len(wanted) :] if len(got) >= len(wanted) else (None,)
    sizes: dict[str, int] = {}
    return len(got) == len(wanted) and all(
        (size == want if isinstance(want, int) else sizes.setdefault(want, size) == size)
        for size, want in zip(got, wanted, strict=True)
    )
