"""The road to top-k: the dense mixture of 1991, noisy top-k of 2017, GShard's top-2 and Switch's
top-1."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model.routers.base import Router
from moe_lib.model.routers.topk import TopKRouter
from moe_lib.model.routing import NoisyRouting, Routing


class DenseRouter(Router):
    """Every expert runs on every token, weighted by softmax(W x) (Jacobs, Jordan, Nowlan and Hinton
    1991)."""

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int, **options
    ):
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        require(
            num_experts_per_tok == n_routed_experts,
            "num_experts_per_tok",
            num_experts_per_tok,
            f"n_routed_experts ({n_routed_experts}): the dense mixture runs every expert",
        )
        require(
            self.capacity_factor is None,
            "capacity_factor",
            self.capacity_factor,
            "None: the load of a dense mixture is even",
        )

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1)
        weights, experts = scores.sort(-1, descending=True)
        return self.routing(experts, weights, scores, logits)


class NoisyTopKRouter(Router):
    """Sparsely-gated mixture of experts (Shazeer et al. 2017, equations 3 to 5).

    H(x) = W x + noise · softplus(W_noise x), noise drawn from N(0, 1) in training mode only. The k
    largest H are kept, the others set to -inf, and the weights are the softmax of what is left.
    """

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int, **options
    ):
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        self.noise_weight = nn.Parameter(torch.zeros(n_routed_experts, hidden_size))

    def forward(
        self,
        x: Tensor,
        input_ids: Tensor | None = None,
        mask: Tensor | None = None,
        n_sequences: int = 1,
    ) -> NoisyRouting:
        with torch.autocast(x.device.type, enabled=False):
            clean = self.logits(x)
            noise_std = F.softplus(F.linear(x.to(clean.dtype), self.noise_weight.to(clean.dtype)))
            noisy = clean + torch.randn_like(clean) * noise_std if self.training else clean
            routing = self.limit(self.route(noisy, mask), mask, n_sequences)
            return replace(routing, clean_logits=clean, noise_std=noise_std)

    def route(self, logits: Tensor, mask: Tensor | None = None) -> NoisyRouting:
        best, experts = logits.topk(self.num_experts_per_tok, dim=-1)
        weights = best.softmax(-1)
        scores = torch.zeros_like(logits).scatter(
            1, experts, weights
        )  # G(x): 0 for all but the chosen
        return NoisyRouting(**vars(self.routing(experts, weights, scores, logits)))


class SwitchRouter(TopKRouter):
    """Switch Transformer (Fedus et al. 2021): the one best expert, weighted by its raw probability.

    Raw, because a single weight divided by itself would be 1 and the router would learn nothing
    (PITFALLS 1).
    """

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int = 1, **options
    ):
        require(
            num_experts_per_tok == 1,
            "num_experts_per_tok",
            num_experts_per_tok,
            "1: Switch chooses one expert",
        )
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        require(
            self.scoring_func == "softmax" and not self.norm_topk_prob,
            "options",
            options,
            "neither scoring_func nor norm_topk_prob: Switch takes the raw softmax",
        )


class GShardRouter(Router):
    """GShard (Lepikhin et al. 2020, algorithm 1): the two best experts, their weights renormalised.

    In training mode the second expert is used with probability min(1, 2 · its weight): a weak
    second choice often is not worth its place. In eval mode it is always used, so that an output
    never depends on a draw.
    """

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int = 2, **options
    ):
        require(
            num_experts_per_tok == 2,
            "num_experts_per_tok",
            num_experts_per_tok,
            "2: GShard chooses two experts",
        )
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1)
        weights, experts = scores.topk(2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        chosen = None
        if self.training:
            chosen = torch.ones_like(experts, dtype=torch.bool)
            chosen[:, 1] = 2 * weights[:, 1].detach() > torch.rand_like(weights[:, 1])
        return self.routing(experts, weights, scores, logits, chosen)
