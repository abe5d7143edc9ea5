"""The experts of one MoE layer, and two ways to run them: a plain loop to understand, a sorted one to use.

Both compute, for every token, sum over its chosen experts e of weight_e · FFN_e(x). The loop asks each expert
for its tokens. The sorted form lines the (token, expert) pairs up by expert once, so that the work of all
experts is two grouped matrix products over contiguous rows.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.model.routing import Routing


class Experts(nn.Module):
    """E SwiGLU feed-forward networks of width I, stacked: gate_up_proj (E, 2I, d) and down_proj (E, d, I)."""

    def __init__(self, n_experts: int, hidden_size: int, intermediate_size: int):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(n_experts, 2 * intermediate_size, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(n_experts, hidden_size, intermediate_size))
        for weight in (self.gate_up_proj, self.down_proj):  # as n separate nn.Linear layers would start
            bound = 1 / math.sqrt(weight.shape[-1])
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing of these tokens -> (tokens, d)"""
        if torch.is_autocast_enabled(x.device.type):  # grouped products are not on autocast's list
            dtype = torch.get_autocast_dtype(x.device.type)
            return run_sorted(x.to(dtype), routing, self.gate_up_proj.to(dtype), self.down_proj.to(dtype))
        return run_sorted(x, routing, self.gate_up_proj, self.down_proj)


def run_loop(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """One expert after the other: find its tokens, run it, add the weighted result. Slow and plain: the reference."""
    output = torch.zeros_like(x)
    weights = (routing.weights * routing.kept).to(x.dtype)
    for expert in range(gate_up_proj.shape[0]):
        token, rank = torch.where(routing.experts == expert)
        gate, up = (x[token] @ gate_up_proj[expert].T).chunk(2, dim=-1)
        result = (F.silu(gate) * up) @ down_proj[expert].T
        output = output.index_add(0, token, result * weights[token, rank, None])
    return output


def run_sorted(x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor) -> Tensor:
    """All experts at once: sort the (token, expert) pairs by expert, two grouped products, add back."""
    if x.shape[0] == 0:
        return x
    k = routing.experts.shape[1]
    order = routing.experts.flatten().argsort(stable=True)  # (tokens · k,) pair numbers, expert by expert
    token = order // k
    load = torch.bincount(routing.experts.flatten(), minlength=routing.n_experts)
    weight = (routing.weights * routing.kept).to(x.dtype).flatten().index_select(0, order)

    # index_select, not x[token]: its backward pass is a plain index_add instead of a sorted scatter
    gate, up = grouped_linear(x.index_select(0, token), gate_up_proj, load).chunk(2, dim=-1)
    # weighting before the down-projection spares keeping its output for the backward pass
    result = grouped_linear(F.silu(gate) * up * weight[:, None], down_proj, load)
    if x.is_cuda:  # index_add on CUDA adds in any order, so two runs would differ in the last digits
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
        return result.index_select(0, back).view(-1, k, x.shape[1]).sum(1)
    return torch.zeros_like(x).index_add(0, token, result)


def grouped_linear(x: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    """Rows of x (n, in) come in E blocks of load[e] rows; block e is multiplied by weight[e] (out, in) transposed."""
    if _has_grouped_kernel(x, weight):
        ends = load.cumsum(0).to(torch.int32)
        return F.grouped_mm(x, weight.transpose(1, 2), offs=ends)
    blocks = x.split(load.tolist())
    return torch.cat([block @ matrix.T for block, matrix in zip(blocks, weight.unbind(0), strict=True)])


def _has_grouped_kernel(x: Tensor, weight: Tensor) -> bool:
    """torch's grouped product takes no float64, only bfloat16 on CUDA, and rows of whole 16-byte pieces."""
    known_type = x.dtype == torch.bfloat16 or (x.dtype == torch.float32 and not x.is_cuda)
    return known_type and all(width * x.element_size() % 16 == 0 for width in weight.shape[1:])
