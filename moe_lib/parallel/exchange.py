"""Rows that go to other ranks, their way back in the backward pass, and the bytes they cost."""

from collections import defaultdict
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

from moe_lib.parallel.ranks import here

_COUNTING: ContextVar["Traffic | None"] = ContextVar("traffic", default=None)


class Traffic:
    """Within the `with` block: bytes that this rank sends to each rank, by what they are for.

        with Traffic() as traffic:
            model(...)
        traffic.sent["dispatch"]       # [0, 8192]: nothing to itself, 8 KiB to rank 1

    "counts", "dispatch", "combine" of a forward pass, "dispatch backward", "combine backward" of
    the gradients. What stays on the rank costs nothing and is not counted.
    """

    def __init__(self):
        self.sent: dict[str, list[int]] = defaultdict(lambda: [0] * here().size)

    def __enter__(self) -> "Traffic":
        self._before = _COUNTING.set(self)
        return self

    def __exit__(self, *error) -> None:
        _COUNTING.reset(self._before)

    def add(self, what: str, bytes_to: list[int]) -> None:
        own = here().rank
        for rank, number in enumerate(bytes_to):
            self.sent[what][rank] += 0 if rank == own else number

    def bytes(self, *names: str) -> int:
        """All bytes sent, or those for `names` alone."""
        return sum(sum(sent) for what, sent in self.sent.items() if not names or what in names)


def exchange(rows: Tensor, to: list[int], back: list[int], what: str, traffic=None) -> Tensor:
    """rows (sum of to, ...): to[r] of them go to rank r; back[r] come from it. -> (sum of back,
    ...), in the order of ranks. Without gradient."""
    counted = traffic or _COUNTING.get()
    if counted is not None:
        size = rows[:1].numel() * rows.element_size() if len(rows) else 0
        counted.add(what, [number * size for number in to])
    received = rows.new_empty(sum(back), *rows.shape[1:])
    dist.all_to_all_single(received, rows.contiguous(), back, to)
    return received


def exchange_counts(to: Tensor) -> list[int]:
    """to (ranks,) int64, rows for each rank -> rows from each rank."""
    return exchange(to, [1] * len(to), [1] * len(to), "counts").tolist()


class _Exchange(torch.autograd.Function):
    """One or more tensors of rows on one way, so that their gradients come back together and in
    one order on every rank, whatever a rank does with them."""

    @staticmethod
    def forward(ctx, to, back, what, *parts):
        ctx.way = to, back, what, _COUNTING.get()
        return tuple(exchange(part, to, back, what) for part in parts)

    @staticmethod
    def backward(ctx, *gradients):
        to, back, what, traffic = ctx.way
        what += " backward"
        return None, None, None, *(exchange(g, back, to, what, traffic) for g in gradients)


def exchange_with_gradient(to: list[int], back: list[int], what: str, *parts: Tensor) -> tuple:
    """`exchange` of every part, in one step of autograd. The parts that come out must not all be
    unused on one rank alone: its gradients would be waited for."""
    return _Exchange.apply(to, back, what, *parts)
