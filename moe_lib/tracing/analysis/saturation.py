"""Router saturation: when in its training does a model choose the experts that it chooses in the
end?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import checked, require_tensor


@checked
def saturation(experts: Tensor, final: int = -1) -> Tensor:
    """Router saturation of OLMoE (arXiv 2409.02060): mean over the tokens of |E(t) ∩ E(T)| / k.

    experts  (checkpoints, layers, tokens, k): the experts that the same tokens choose at each
             checkpoint; their order within a token plays no part. `stack_experts` makes it of
             traces
    final    the checkpoint T that the others are compared with

    Returns (checkpoints, layers), 0 to 1; 1 at T itself. By chance it is k/E if the loads are even,
    and what `saturation_by_chance` says if they are not. Raises ValueError for another shape.
    """
    _check(experts, final)
    last = experts[final]
    same = experts[..., :, None] == last[None, ..., None, :]  # (checkpoints, layers, tokens, k, k)
    return same.any(-1).double().mean((-1, -2))


@checked
def saturation_by_chance(experts: Tensor, final: int = -1) -> Tensor:
    """`saturation` if the tokens of the checkpoint T stood in random order, (checkpoints, layers):
    the exact mean.

    It is Σ_i q_i(t) q_i(T) / k, where q_i is the share of the tokens that choose expert i.
    """
    _check(experts, final)
    n_experts, (*_, tokens, k) = int(experts.max()) + 1, experts.shape
    share = torch.nn.functional.one_hot(experts.long(), n_experts).sum((-2, -3)).double() / tokens
    return (share * share[final]).sum(-1) / k


@checked
def stack_experts(traces: Sequence[RoutingTrace]) -> Tensor:
    """Traces of the same text by several checkpoints of one model -> (checkpoints, layers, real
    tokens, k).

    Raises ValueError if the texts or the layers differ, or tokens have different numbers of
    experts.
    """
    require(len(traces) > 0, "traces", "none", "at least one RoutingTrace")
    first = traces[0]
    for trace in traces:
        same = torch.equal(trace.input_ids, first.input_ids) and torch.equal(trace.real, first.real)
        require(same, "traces", "different tokens", "the same tokens in all traces")
        found, wanted = (
            [(layer.index, layer.n_experts) for layer in t.layers] for t in (trace, first)
        )
        require(found == wanted, "traces", found, f"the layers of the first, (number, E): {wanted}")
        whole = all(bool(layer.choices(trace.real)[trace.real].all()) for layer in trace.layers)
        require(whole, "traces", "tokens with fewer than k experts", "k experts for every token")
    return torch.stack(
        [torch.stack([layer.experts[first.real] for layer in trace.layers]) for trace in traces]
    )


def _check(experts: Tensor, final: int) -> None:
    require_tensor("experts", experts, ("checkpoints", "layers", "tokens", "k"), "whole", low=0)
    require(experts.numel() > 0, "experts", tuple(experts.shape), "at least one of each")
    n = len(experts)
    require(-n <= final < n, "final", final, f"one of {n} checkpoints: {-n} to {n - 1}")
