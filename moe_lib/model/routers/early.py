"""The road to top-k: the dense mixture, noisy top-k, GShard's top-2 and Switch's top-1."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_lib.model.routers.base import Router
from moe_lib.model.routers.topk import TopKRouter
from moe_lib.model.routing import NoisyRouting, Routing


class DenseRouter(Router):
    """Every expert runs on every token, weighted by softmax(W x) (Jacobs et al. 1991)."""

    name, title = "dense", "Dense mixture (1991)"
    options = ("routed_scaling_factor", "n_group")
    balanced_by, collapses = (), False  # the load is even
    only_k, sums_to_one = "all", True

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1)
        weights, experts = scores.sort(-1, descending=True)
        return self.routing(experts, weights, scores, logits)


class NoisyTopKRouter(Router):
    """Sparsely-gated mixture of experts (Shazeer et al. 2017, equations 3 to 5).
    H(x) = W x + noise · softplus(W_noise x), noise drawn from N(0, 1) in training mode only. The k
    largest H are kept, the others set to -inf, and the weights are the softmax of what is left."""

    name, title = "noisy_topk", "Noisy top-k (Shazeer, 2017)"
    learned = ("weight", "noise_weight")
    balanced_by = (*Router.balanced_by, "importance_loss_alpha", "load_loss_alpha")
    collapses = False  # two losses of its own see to it

    def choose(self, x: Tensor, input_ids: Tensor | None, mask: Tensor | None) -> NoisyRouting:
        clean = self.logits(x)  # (tokens, E)
        noise_std = F.softplus(F.linear(x.to(clean.dtype), self.noise_weight.to(clean.dtype)))
        noisy = clean + torch.randn_like(clean) * noise_std if self.training else clean
        return replace(self.route(noisy, mask), clean_logits=clean, noise_std=noise_std)

    def route(self, logits: Tensor, mask: Tensor | None = None) -> NoisyRouting:
        best, experts = logits.topk(self.num_experts_per_tok, dim=-1)  # (tokens, k) each
        weights = best.softmax(-1)
        gates = torch.zeros_like(logits).scatter(1, experts, weights)  # G(x): 0 for the others
        return NoisyRouting(**vars(self.routing(experts, weights, gates, logits)))


class SwitchRouter(TopKRouter):
    """Switch Transformer (Fedus et al. 2021): the one best expert, weighted by its raw probability.
    Raw, because a single weight divided by itself would be 1 and the router would learn nothing."""

    name, title = "switch", "Switch top-1 (2021)"
    options, only_k = Router.options, 1


class GShardRouter(Router):
    """GShard (Lepikhin et al. 2020, algorithm 1): the two best experts, their weights renormalised.

    In training mode the second expert is used with probability min(1, 2 · its weight): a weak
    second choice often is not worth its place. In eval mode it is always used, so that an output
    never depends on a draw (in Mesh-TensorFlow, GShard's ancestor, it does).
    """

    name, title = "gshard", "GShard top-2 (2020)"
    only_k, how_many, sums_to_one = 2, "at most", True

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1)
        weights, experts = scores.topk(2, dim=-1)  # (tokens, 2) each
        weights = weights / weights.sum(-1, keepdim=True)
        chosen = None
        if self.training:
            chosen = torch.ones_like(experts, dtype=torch.bool)
            chosen[:, 1] = 2 * weights[:, 1].detach() > torch.rand_like(weights[:, 1])
        return self.routing(experts, weights, scores, logits, chosen)
