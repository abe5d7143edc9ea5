"""Tokens to their experts and back, and the SwiGLU between: three operations whose backward passes
are written out.

Autograd would get the same gradients, but slowly on a CPU (benchmarks/README.md): its gradient of a
gather adds row by row into the output, and its gradient of SwiGLU makes a fresh buffer for every
step. On CUDA, adding rows in any order would also make two runs differ in the last digits.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_lib.model.routing import Routing


class Order(NamedTuple):
    """The n kept (token, expert) pairs, lined up by expert; pair p = token · k + rank. A dropped
    pair has no row.

    pair   (n,) int64       the pair in each row; within an expert the tokens stand in their order
    token  (n,) int64       the token in each row, pair // k
    place  (n,) int64       the rows of token 0, then those of token 1, …
    start  (tokens,) int64  where each token's rows begin in `place`
    load   (E,) int64       rows per expert
    """

    pair: Tensor
    token: Tensor
    place: Tensor
    start: Tensor
    load: Tensor


def sort_by_expert(routing: Routing) -> Order:
    tokens, k = routing.experts.shape
    expert = torch.where(
        routing.kept, routing.experts, routing.n_experts
    ).flatten()  # dropped pairs go last
    load = torch.bincount(expert, minlength=routing.n_experts + 1)[:-1]
    pair = expert.argsort(stable=True)[: int(load.sum())]
    place = torch.empty_like(expert)
    place[pair] = torch.arange(len(pair), device=pair.device)
    if len(pair) < tokens * k:
        place = place[routing.kept.flatten()]
    rows_per_token = routing.kept.sum(1)
    return Order(pair, pair // k, place, rows_per_token.cumsum(0) - rows_per_token, load)


def dispatch(x: Tensor, order: Order) -> Tensor:
    """x (tokens, d) -> (n, d): row i is x[token[i]]. As a matrix: P x, where P has one 1 in each
    row."""
    return _Dispatch.apply(x, order.token, order.place, order.start)


def combine(rows: Tensor, order: Order) -> Tensor:
    """rows (n, d) -> (tokens, d): the sum of each token's rows. As a matrix: Pᵀ rows."""
    return _Combine.apply(rows, order.token, order.place, order.start)


class _Dispatch(torch.autograd.Function):
    """P x. The gradient of a product with P is a product with Pᵀ: combine."""

    @staticmethod
    def forward(ctx, x, token, place, start):
        ctx.save_for_backward(token, place, start)
        return x.index_select(0, token)

    @staticmethod
    def backward(ctx, d_rows):
        return _Combine.apply(d_rows, *ctx.saved_tensors), None, None, None


class _Combine(torch.autograd.Function):
    """Pᵀ rows. Its gradient is dispatch."""

    @staticmethod
    def forward(ctx, rows, token, place, start):
        ctx.save_for_backward(token, place, start)
        return F.embedding_bag(
            place, rows, start, mode="sum"
        )  # token after token, always in the same order

    @staticmethod
    def backward(ctx, d_output):
        return _Dispatch.apply(d_output, *ctx.saved_tensors), None, None, None


def weighted_swiglu(gate_up: Tensor, weight: Tensor) -> Tensor:
    """w · silu(gate) · up: gate_up (n, 2I), weight (n, 1) -> (n, I). It has a first derivative
    only."""
    return _WeightedSwiGLU.apply(gate_up, weight)


class _WeightedSwiGLU(torch.autograd.Function):
    """h = w · silu(gate) · up, and with p the gradient at h:

    d up = w · silu(gate) · p,   d gate = w · up · p · silu'(gate),
    d w = sum of silu(gate) · up · p
    """

    @staticmethod
    def forward(ctx, gate_up, weight):
        ctx.save_for_backward(gate_up, weight)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, p):
        gate_up, weight = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2, dim=-1)
        activated = F.silu(gate).mul_(p)
        torch.mul(activated, weight, out=d_up)
        d_weight = activated.mul_(up).sum(1, keepdim=True)
        slope_free = torch.mul(up, weight, out=activated).mul_(
            p
        )  # d gate without its factor silu'(gate)
        torch.ops.aten.silu_backward.grad_input(slope_free, gate, grad_input=d_gate)
        return d_gate_up, d_weight
