"""The ways to run experts that the layer takes: what `run_sorted` of `moe_lib.model.experts` gives.

Each takes x (tokens, d), the Routing of these tokens, gate_up_proj (E, 2I, d) and down_proj
(E, d, I), and gives (tokens, d). They differ by rounding alone.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_lib.model.fast.dispatch import combine, dispatch, sort_by_expert, weighted_swiglu
from moe_lib.model.fast.grouped import grouped_linear, linear_of_each
from moe_lib.model.routing import Routing
from moe_lib.model_inputs import check_experts

# The C library gives buffers of 32 MB or more back to the system after each use, and new ones are
# cleared page by page, which takes time (benchmarks/README.md). Parts of 16 MB in float32 stay well
# below.
LARGEST_BUFFER = 2**22  # numbers

# Without gradients, and for that many (token, expert) pairs at most, plainer ways are faster: a
# step of generation.
FEW_PAIRS = 8  # run_pairs
SOME_PAIRS = 512  # run_small

# (E, out, in), or its E matrices: views that a `DecodingPlan` makes once
Matrices = Tensor | Sequence[Tensor]


def choose_way(x: Tensor, routing: Routing) -> Callable[[Tensor, Routing, Tensor, Tensor], Tensor]:
    """The function below that is fastest for this input."""
    if torch.compiler.is_compiling():
        return run_traceable
    if x.device.type != "cpu":
        return run_grouped
    pairs = routing.experts.numel()
    if pairs > SOME_PAIRS or torch.is_grad_enabled():
        return run_in_parts
    return run_pairs if pairs <= FEW_PAIRS else run_small


def run_grouped(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """All experts at once: sort the (token, expert) pairs by expert, two grouped products, add
    back."""
    check_experts(x, routing, gate_up_proj, down_proj)
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


def run_in_parts(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """run_grouped, over as many parts of the tokens as keep each buffer below LARGEST_BUFFER
    numbers."""
    tokens, k = routing.experts.shape
    parts = math.ceil(tokens * k * max(gate_up_proj.shape[1:]) / LARGEST_BUFFER)
    if parts <= 1:
        return run_grouped(x, routing, gate_up_proj, down_proj)
    record = (routing.experts, routing.weights, routing.scores, routing.logits, routing.kept)
    pieces = zip(x.chunk(parts), *(tensor.chunk(parts) for tensor in record), strict=True)
    return torch.cat(
        [run_grouped(rows, Routing(*fields), gate_up_proj, down_proj) for rows, *fields in pieces]
    )


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
    """run_grouped with fewer steps: every pair has a row, also a dropped one, and no backward pass
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


def run_traceable(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """run_grouped for torch.compile, which has to know every shape: a dropped pair has a row,
    too."""
    expert, pair = routing.experts.flatten().sort(stable=True)  # (tokens · k,) each
    load = torch.zeros(routing.n_experts, dtype=torch.int64, device=x.device)
    load = load.index_add(0, expert, torch.ones_like(expert))  # (E,)
    token = pair // routing.experts.shape[1]
    weight = (routing.weights * routing.kept).to(x.dtype).flatten()[pair, None]
    gate, up = grouped_linear(x[token], gate_up_proj, load).chunk(2, dim=-1)  # (tokens · k, I) each
    result = grouped_linear(F.silu(gate) * up * weight, down_proj, load)  # (tokens · k, d)
    return torch.zeros_like(x).index_add(0, token, result)
