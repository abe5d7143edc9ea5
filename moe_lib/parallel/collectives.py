"""What all ranks add up or agree on; alone, everything is what it is."""

import torch
import torch.distributed as dist
from torch import Tensor

from moe_lib.parallel.ranks import here


def total(values: Tensor) -> Tensor:
    """The sum over all ranks of a tensor of one shape; the same on every rank, without gradient."""
    values = values.detach().clone()
    if here().several:
        dist.all_reduce(values)
    return values


def any_rank(flag: bool) -> bool:
    """True on every rank if it is True on one."""
    return bool(flag) if not here().several else bool(total(torch.tensor(float(flag))) > 0)


def from_all(values: Tensor) -> list[Tensor]:
    """values (n, ...) of every rank, in their order; n may differ. Without gradient."""
    ranks = here()
    if not ranks.several:
        return [values.detach()]
    lengths = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(ranks.size)]
    dist.all_gather(lengths, torch.tensor([len(values)], device=values.device))
    most = max(int(length) for length in lengths)
    padded = values.new_zeros(most, *values.shape[1:])
    padded[: len(values)] = values.detach()
    parts = [torch.empty_like(padded) for _ in range(ranks.size)]
    dist.all_gather(parts, padded)
    return [part[: int(length)] for part, length in zip(parts, lengths, strict=True)]


class _Joined(torch.autograd.Function):
    """The values of all ranks, one after the other. Its gradient is a rank's own slice: every rank
    computes the same from them, and adds its parameters' gradients to those of the others later."""

    @staticmethod
    def forward(ctx, values):
        parts = from_all(values)
        start = sum(len(part) for part in parts[: here().rank])
        ctx.own = slice(start, start + len(values))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, d_all):
        return d_all[ctx.own].contiguous()


def joined(values: Tensor) -> Tensor:
    """values (n, ...) of all ranks, (sum of n, ...), with a gradient for the own ones."""
    return values if not here().several else _Joined.apply(values)
