"""The experts of one MoE layer, and three plain ways to run them: mask, loop, sorted.

All compute, for every token, the sum over its chosen experts e of weight_e · FFN_e(x). The mask
runs every expert on every token and multiplies most of it by zero. The loop asks each expert for
its tokens. The sorted form lines the (token, expert) pairs up by expert once, so that each expert
works on a block of rows. Pairs that a capacity limit dropped (`Routing.kept` is False) add nothing;
loop and sorted do not compute them. The layer itself takes the fast ways of `model/fast/ways.py`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.model.fast.ways import choose_way
from moe_lib.model.routing import Routing
from moe_lib.model_inputs import check_experts
from moe_lib.validation import Count, checked


class Experts(nn.Module):
    """E SwiGLU networks of width I, stacked: gate_up_proj (E, 2I, d) and down_proj (E, d, I)."""

    @checked
    def __init__(self, n_experts: Count, hidden_size: Count, intermediate_size: Count):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(n_experts, 2 * intermediate_size, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(n_experts, hidden_size, intermediate_size))
        for weight in (self.gate_up_proj, self.down_proj):  # as nn.Linear layers would start
            bound = 1 / math.sqrt(weight.shape[-1])
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing of these tokens -> (tokens, d)"""
        gate_up_proj, down_proj = self.gate_up_proj, self.down_proj
        check_experts(x, routing, gate_up_proj, down_proj)
        if torch.is_autocast_enabled(x.device.type):  # grouped products are not on autocast's list
            dtype = torch.get_autocast_dtype(x.device.type)
            x, gate_up_proj, down_proj = x.to(dtype), gate_up_proj.to(dtype), down_proj.to(dtype)
        return choose_way(x, routing)(x, routing, gate_up_proj, down_proj)


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """One expert on its tokens: x (n, d), gate_up (2I, d), down (d, I) -> (n, d)"""
    gate, up = (x @ gate_up.T).chunk(2, dim=-1)  # (n, I) each
    return (F.silu(gate) * up) @ down.T


def run_masked(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """Every expert on every token, times its column of a mostly zero matrix: E/k times the work."""
    check_experts(x, routing, gate_up_proj, down_proj)
    chosen = torch.where(routing.kept, routing.weights, 0).to(x.dtype)  # (tokens, k)
    weights = x.new_zeros(len(x), routing.n_experts)  # (tokens, E)
    weights = weights.scatter_add(1, routing.experts, chosen)
    output = torch.zeros_like(x)
    for e in range(routing.n_experts):
        output = output + weights[:, e, None] * swiglu(x, gate_up_proj[e], down_proj[e])
    return output


def run_loop(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """The reference: one expert after the other, find its tokens, run it, add what it gives."""
    check_experts(x, routing, gate_up_proj, down_proj)
    output = torch.zeros_like(x)
    weights = routing.weights.to(x.dtype)
    for e in range(routing.n_experts):
        token, rank = torch.where((routing.experts == e) & routing.kept)  # (n,) each
        result = swiglu(x[token], gate_up_proj[e], down_proj[e])  # (n, d)
        output = output.index_add(0, token, result * weights[token, rank, None])
    return output


def run_sorted(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """Gather all rows, expert by expert; run each expert on its block; add the rows back."""
    check_experts(x, routing, gate_up_proj, down_proj)
    token, rank = torch.where(routing.kept)  # (n,) each: the pairs that run
    order = routing.experts[token, rank].argsort(stable=True)
    token, rank = token[order], rank[order]
    load = torch.bincount(routing.experts[token, rank], minlength=routing.n_experts)  # (E,)
    blocks = x[token].split(load.tolist())  # E blocks (load of e, d)
    results = [swiglu(rows, gate_up_proj[e], down_proj[e]) for e, rows in enumerate(blocks)]
    weighted = torch.cat(results) * routing.weights[token, rank, None].to(x.dtype)  # (n, d)
    return torch.zeros_like(x).index_add(0, token, weighted)
