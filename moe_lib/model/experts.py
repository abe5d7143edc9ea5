"""The experts of one MoE layer, and three plain ways to run them: mask, loop, sorted.

All compute, for every token, the sum over its chosen experts e of weight_e · FFN_e(x). The mask
runs every expert on every token and multiplies most of it by zero. The loop asks each expert for
its tokens. The sorted form lines the (token, expert) pairs up by expert once, so that the work of
all experts is two grouped matrix products over contiguous rows; the layer uses it, and two plainer
ways for the few tokens of a step of generation (`choose_way`). Pairs that a capacity limit dropped
(`Routing.kept` is False) add nothing, and loop and sorted do not compute them.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.model.fast.dispatch import combine, dispatch, sort_by_expert, weighted_swiglu
from moe_lib.model.routing import Routing

# The C library gives buffers of 32 MB or more back to the system after each use, and new ones are
# cleared page by page, which takes time (benchmarks/README.md). Parts of 16 MB in float32 stay well
# below.
LARGEST_BUFFER = 2**22  # numbers

# Without gradients, and for that many (token, expert) pairs at most, plainer ways are faster: a
# step of generation.
FEW_PAIRS = 8  # run_pairs
SOME_PAIRS = 512  # run_small

Matrices = (
    Tensor | Sequence[Tensor]
)  # (E, out, in), or its E matrices: views that a `DecodingPlan` makes once


class Experts(nn.Module):
    """E SwiGLU feed-forward networks of width I, stacked: gate_up_proj (E, 2I, d) and down_proj (E,
    d, I)."""

    def __init__(self, n_experts: int, hidden_size: int, intermediate_size: int):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(n_experts, 2 * intermediate_size, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(n_experts, hidden_size, intermediate_size))
        for weight in (
            self.gate_up_proj,
            self.down_proj,
        ):  # as n separate nn.Linear layers would start
            bound = 1 / math.sqrt(weight.shape[-1])
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing of these tokens -> (tokens, d)"""
        gate_up_proj, down_proj = self.gate_up_proj, self.down_proj
        if torch.is_autocast_enabled(x.device.type):  # grouped products are not on autocast's list
            dtype = torch.get_autocast_dtype(x.device.type)
            x, gate_up_proj, down_proj = x.to(dtype), gate_up_proj.to(dtype), down_proj.to(dtype)
        return choose_way(x, routing)(x, routing, gate_up_proj, down_proj)


def choose_way(x: Tensor, routing: Routing) -> Callable[[Tensor, Routing, Tensor, Tensor], Tensor]:
    """The function below that is fastest for this input. All give the same, but for rounding."""
    if x.device.type != "cpu":
        return run_sorted
    pairs = routing.experts.numel()
    if pairs > SOME_PAIRS or torch.is_grad_enabled():
        return run_in_parts
    return run_pairs if pairs <= FEW_PAIRS else run_small


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """One expert on its tokens: x (n, d), gate_up (2I, d), down (d, I) -> (n, d)"""
    gate, up = (x @ gate_up.T).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ down.T


def run_masked(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """Every expert on every token, times a (tokens, E) matrix of weights that is mostly zero. E / k
    times the work."""
    weights = torch.where(routing.kept, routing.weights, 0).to(x.dtype)
    weights = x.new_zeros(len(x), routing.n_experts).scatter_add(
        1, routing.experts, weights
    )  # (tokens, E)
    output = torch.zeros_like(x)
    for expert in range(routing.n_experts):
        output = output + weights[:, expert, None] * swiglu(
            x, gate_up_proj[expert], down_proj[expert]
        )
    return output


def run_loop(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """One expert after the other: find its tokens, run it, add the weighted result. Slow and plain:
    the reference."""
    output = torch.zeros_like(x)
    weights = routing.weights.to(x.dtype)
    for expert in range(routing.n_experts):
        token, rank = torch.where((routing.experts == expert) & routing.kept)
        result = swiglu(x[token], gate_up_proj[expert], down_proj[expert])
        output = output.index_add(0, token, result * weights[token, rank, None])
    return output


def run_sorted(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """All experts at once: sort the (token, expert) pairs by expert, two grouped products, add
    back."""
    order = sort_by_expert(routing)
    if len(order.pair) == 0:
        return x * 0.0  # zeros that gradients can pass
    weight = routing.weights.to(x.dtype).flatten().index_select(0, order.pair)
    rows = dispatch(x, order)  # (n, d), expert by expert
    # weighting before the down-projection spares keeping its output for the backward pass
    hidden = weighted_swiglu(
        grouped_linear(rows, gate_up_proj, order.load), weight[:, None]
    )  # (n, I)
    return combine(grouped_linear(hidden, down_proj, order.load), order)


def run_pairs(x: Tensor, routing: Routing, gate_up_proj: Matrices, down_proj: Matrices) -> Tensor:
    """One (token, expert) pair after the other, nothing sorted: for one token, or two."""
    weights = (routing.weights * routing.kept).to(x.dtype)
    output = torch.zeros_like(x)
    for row, experts, weight, sum_ in zip(
        x, routing.experts.tolist(), weights, output, strict=True
    ):
        gate, up = torch.stack([gate_up_proj[e].mv(row) for e in experts]).chunk(
            2, dim=-1
        )  # (k, I) each
        hidden = F.silu(gate) * up * weight[:, None]
        for e, h in zip(experts, hidden.unbind(0), strict=True):
            sum_.addmv_(down_proj[e], h)
    return output


def run_small(x: Tensor, routing: Routing, gate_up_proj: Matrices, down_proj: Matrices) -> Tensor:
    """run_sorted with fewer steps: every pair has a row, also a dropped one, and no backward pass
    is prepared."""
    k = routing.experts.shape[1]
    expert, pair = routing.experts.flatten().sort(stable=True)
    load, token = torch.bincount(expert, minlength=routing.n_experts), pair // k
    weight = (routing.weights * routing.kept).to(x.dtype).flatten().index_select(0, pair)
    linear = grouped_linear if isinstance(gate_up_proj, Tensor) else linear_of_each
    gate, up = linear(x.index_select(0, token), gate_up_proj, load).chunk(2, dim=-1)
    result = linear(
        F.silu(gate) * up * weight[:, None], down_proj, load
    )  # (tokens · k, d), expert by expert
    return torch.zeros_like(x).index_add_(0, token, result)


def run_in_parts(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """run_sorted, over as many parts of the tokens as keep each buffer below LARGEST_BUFFER
    numbers."""
    tokens, k = routing.experts.shape
    parts = math.ceil(tokens * k * max(gate_up_proj.shape[1:]) / LARGEST_BUFFER)
    if parts <= 1:
        return run_sorted(x, routing, gate_up_proj, down_proj)
    record = (routing.experts, routing.weights, routing.scores, routing.logits, routing.kept)
    pieces = zip(x.chunk(parts), *(tensor.chunk(parts) for tensor in record), strict=True)
    return torch.cat(
        [run_sorted(rows, Routing(*fields), gate_up_proj, down_proj) for rows, *fields in pieces]
    )


def grouped_linear(x: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    """Rows of x (n, in) come in E blocks of load[e] rows; block e is multiplied by weight[e] (out,
    in) transposed."""
    if _has_grouped_kernel(x, weight):
        return F.grouped_mm(x, weight.transpose(1, 2), offs=load.cumsum(0).to(torch.int32))
    blocks = x.split(load.tolist())
    return torch.cat(
        [block @ matrix.T for block, matrix in zip(blocks, weight.unbind(0), strict=True)]
    )


def linear_of_each(x: Tensor, weight: Sequence[Tensor], load: Tensor) -> Tensor:
    """grouped_linear for few rows: a product for every expert that has any."""
    loads = [(expert, rows) for expert, rows in enumerate(load.tolist()) if rows]
    blocks = x.split([rows for _, rows in loads])
    return torch.cat(
        [F.linear(block, weight[expert]) for block, (expert, _) in zip(blocks, loads, strict=True)]
    )


def _has_grouped_kernel(x: Tensor, weight: Tensor) -> bool:
    """torch's grouped product takes no float64, only bfloat16 on CUDA, and rows of whole 16-byte
    pieces."""
    known_type = x.dtype == torch.bfloat16 or (x.dtype == torch.float32 and not x.is_cuda)
    return known_type and all(width * x.element_size() % 16 == 0 for width in weight.shape[1:])
