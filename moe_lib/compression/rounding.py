"""Weights as whole numbers of a few bits, with a scale and a zero point for every small group.

    w ≈ (q − zero) · scale,   q = round(w / scale + zero), from 0 to 2^bits − 1

Round to nearest takes scale and zero from the smallest and the largest weight of the group.
Half-quadratic quantisation (HQQ; Badri and Shaji 2023) keeps the scale and moves the zero, so that
the error Σ |w − (q − zero) · scale|^p with p = 0.7 gets small: a norm that forgives a few outliers.
No data is needed. It alternates between two easy steps: e, what of the error is to be left to the
outliers (shrinking, the answer of the p-norm's proximal problem), and the zero, a mean.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from moe_lib.compression.bit_packing import WIDTHS, pack_bits, unpack_bits
from moe_lib.errors import require, require_divisor
from moe_lib.validation import Choice, Count, checked, require_tensor

NORM, BETA, KAPPA, ROUNDS = 0.7, 10.0, 1.01, 20  # p, weight of the step and its growth, steps


@dataclass(frozen=True)
class QuantisedWeight:
    """One weight in groups of `group_size` along its last dimension.

    packed  (bytes,) uint8    q, packed; see `bit_packing`
    scale   (groups,) float16
    zero    (groups,) float16  in units of q
    shape   of the weight
    """

    packed: Tensor
    scale: Tensor
    zero: Tensor
    shape: tuple[int, ...]
    bits: int
    group_size: int

    def __post_init__(self):
        require(self.bits in WIDTHS, "bits", self.bits, f"one of {WIDTHS}")
        require_divisor("group_size", self.group_size, self.shape[-1], "the width of the weight")
        groups = prod(self.shape) // self.group_size
        for name in ("scale", "zero"):
            require_tensor(name, getattr(self, name), (groups,), torch.float16, finite=True)
        needed = -(-prod(self.shape) * self.bits // 8)
        require_tensor("packed", self.packed, (needed,), torch.uint8)

    @property
    def n_bytes(self) -> int:
        """Bytes of the numbers, the scales and the zeros."""
        return len(self.packed) + 2 * len(self.scale) + 2 * len(self.zero)

    def dequantised(self) -> Tensor:
        """The weight that it stands for, float32, in its shape."""
        q = unpack_bits(self.packed, self.bits, prod(self.shape)).view(-1, self.group_size).float()
        return ((q - self.zero.float()[:, None]) * self.scale.float()[:, None]).view(self.shape)


@checked
@torch.no_grad()
def quantise_weight(
    weight: Tensor,
    bits: Choice(*WIDTHS),
    group_size: Count = 32,
    method: Choice("nearest", "hqq") = "nearest",
) -> QuantisedWeight:
    """A weight (..., width) in groups of `group_size`, or of the largest divisor of the width below
    it. ValueError for one that is not finite, or too large for scales in float16."""
    require_tensor("weight", weight, ("...", "width"), "floating", finite=True)
    require(weight.numel() > 0, "weight", tuple(weight.shape), "at least one number")
    size = group_of(weight, group_size)
    w = weight.detach().float().reshape(-1, size)  # (groups, size)
    scale, zero = range_of(w, bits)
    if method == "hqq":
        zero = half_quadratic_zero(w / scale.float()[:, None], zero, bits)
    q = _numbers(w / scale.float()[:, None], zero, bits)
    packed = pack_bits(q.to(torch.uint8).flatten(), bits)
    return QuantisedWeight(packed, scale, zero, tuple(weight.shape), bits, size)


def group_of(weight: Tensor, group_size: int) -> int:
    """The largest divisor of the weight's width that is at most `group_size`."""
    width = weight.shape[-1]
    return next(size for size in range(min(group_size, width), 0, -1) if width % size == 0)


def range_of(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero of w (groups, size), (groups,) float16 each, from its smallest and largest.
    ValueError for weights beyond float16."""
    low, high = w.amin(1).clamp(max=0), w.amax(1).clamp(min=0)  # 0 is in reach of every group
    scale = ((high - low) / (2**bits - 1)).half()
    require(bool(scale.isfinite().all()), "weight", "numbers beyond float16", "smaller ones")
    scale = torch.where(scale > 0, scale, 1).half()  # a group of zeros
    return scale, (-low / scale.float()).clamp(max=2**bits - 1).half()


def half_quadratic_zero(w: Tensor, zero: Tensor, bits: int) -> Tensor:
    """w (groups, size) in units of its scale, zero (groups,) to begin with -> the best zero met on
    the way, (groups,) float16."""
    best, least, beta = zero, _error(w, zero, bits), BETA
    for _ in range(ROUNDS):
        q = _numbers(w, zero, bits)
        error = w - (q - zero.float()[:, None])  # (groups, size)
        e = error.sign() * (error.abs() - error.abs().clamp(min=1e-8) ** (NORM - 1) / beta).clamp(
            min=0
        )
        zero = (q - (w - e)).mean(1).half()
        beta *= KAPPA
        found = _error(w, zero, bits)
        best = torch.where(found < least, zero, best)
        least = torch.minimum(found, least)
    return best


def _error(w: Tensor, zero: Tensor, bits: int) -> Tensor:
    return (w - _numbers(w, zero, bits) + zero.float()[:, None]).abs().pow(NORM).sum(1)


def _numbers(w: Tensor, zero: Tensor, bits: int) -> Tensor:
    return (w + zero.float()[:, None]).round().clamp(0, 2**bits - 1)
