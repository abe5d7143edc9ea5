"""Which experts a token goes to. Routers make a `Routing`; everything else in the house reads it."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require, require_whole


@dataclass(frozen=True)
class Routing:
    """The decisions of one MoE layer in one forward pass. `tokens` is batch · sequence, in that order.

    experts  (tokens, k) int64   who was chosen, best first
    weights  (tokens, k) float   what multiplies each chosen expert's output
    scores   (tokens, E) float   affinity of every expert, before selection
    logits   (tokens, E) float   router output
    kept     (tokens, k) bool    False where a capacity limit dropped the pair
    """

    experts: Tensor
    weights: Tensor
    scores: Tensor
    logits: Tensor
    kept: Tensor

    @property
    def n_experts(self) -> int:
        return self.logits.shape[-1]

    def load(self, mask: Tensor | None = None) -> Tensor:
        """Times each expert was chosen, (E,) int64; `mask` (tokens,) bool leaves out tokens, e.g. padding."""
        chosen = self.experts if mask is None else self.experts[mask.bool()]
        return torch.bincount(chosen.flatten(), minlength=self.n_experts)


class TopKRouter(nn.Module):
    """Softmax over all experts, then the k largest (DeepSeekMoE equations 3 to 5; DeepSeek-V2 equations 20 to 22).

    s = softmax(W x); the k experts with the largest s are chosen and weighted by s itself (DeepSeek-V2), or by
    s divided by the sum of the chosen (`norm_topk_prob`, as Mixtral does), times `routed_scaling_factor`.

    Computed in float32 at least: in bfloat16 near-equal scores tie and the choice turns arbitrary (Switch, table 2).
    """

    def __init__(self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int,
                 norm_topk_prob: bool = False, routed_scaling_factor: float = 1.0):  # fmt: skip
        super().__init__()
        require_whole("n_routed_experts", n_routed_experts)
        require_whole("num_experts_per_tok", num_experts_per_tok)
        require(num_experts_per_tok <= n_routed_experts, "num_experts_per_tok", num_experts_per_tok,
                f"at most n_routed_experts ({n_routed_experts})")  # fmt: skip
        if norm_topk_prob and num_experts_per_tok == 1:
            raise ValueError(
                "norm_topk_prob: got True with num_experts_per_tok 1; wants False: one weight divided by itself is "
                "always 1, so the language-model loss would send the router no gradient at all"
            )
        self.num_experts_per_tok = num_experts_per_tok
        self.norm_topk_prob = norm_topk_prob
        self.routed_scaling_factor = routed_scaling_factor
        self.weight = nn.Parameter(torch.empty(n_routed_experts, hidden_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # nn.Linear's default

    def forward(self, x: Tensor) -> Routing:
        """x (tokens, hidden_size) -> Routing"""
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return self.route(F.linear(x.to(dtype), self.weight.to(dtype)))

    def route(self, logits: Tensor) -> Routing:
        """The choice as a function of the logits (tokens, E) alone: -inf keeps an expert from being chosen."""
        scores = logits.softmax(-1)
        weights, experts = scores.topk(self.num_experts_per_tok, dim=-1)
        if self.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        kept = torch.ones_like(experts, dtype=torch.bool)
        return Routing(experts, weights * self.routed_scaling_factor, scores, logits, kept)
