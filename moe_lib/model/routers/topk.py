"""Token choice, as today's models do it: each token takes its k best experts."""

import torch
from torch import Tensor

from moe_lib.errors import require_number
from moe_lib.model.routers.base import Router
from moe_lib.model.routing import Routing
from moe_lib.validation import require_tensor


class TopKRouter(Router):
    """Scores over all experts, then the k largest (DeepSeekMoE equations 3 to 5; Mixtral; OLMoE).

    s = softmax(W x), sigmoid(W x) or sqrt(softplus(W x)), by `scoring_func`. The k experts with the
    largest s are weighted by s itself (DeepSeek-V2, OLMoE), or by s divided by the sum of the
    chosen (`norm_topk_prob`: Mixtral, DeepSeek-V3).
    """

    name, title = "topk", "Top-k, raw weights (DeepSeekMoE, 2024)"
    variants = {
        "topk_normalised": ("Top-k, renormalised (Mixtral, 2023)", {"norm_topk_prob": True})
    }
    options = (*Router.options, "scoring_func", "norm_topk_prob")
    takes_k_best = True
    follows_decoding_plan = True  # said by a class for itself, not for its subclasses

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = self.affinities(logits)
        experts = self.select(scores.detach(), logits == -torch.inf)  # (tokens, k)
        return self.routing(experts, self.weigh(scores, experts), scores, logits)

    def select(self, scores: Tensor, forbidden: Tensor) -> Tensor:
        """scores (tokens, E), forbidden (tokens, E) bool -> the chosen (tokens, k), best first."""
        # -inf and not 0: a biased score can be negative, and then a forbidden expert would win.
        open_scores = scores.masked_fill(forbidden, -torch.inf)
        return open_scores.topk(self.num_experts_per_tok, dim=-1).indices


class GroupLimitedRouter(TopKRouter):
    """Top-k within the best groups only: device-limited routing (DeepSeek-V2, section 2.2.2).
    Experts lie in n_group equal groups, one per device. A group is as good as its best expert; the
    k experts are chosen inside the topk_group best groups: no token goes to more devices."""

    name, title = "group_limited", "Group-limited top-k (DeepSeek-V2, 2024)"
    options = (*Router.options, "topk_group")
    needs_groups = True
    follows_decoding_plan = True

    def select(self, scores: Tensor, forbidden: Tensor) -> Tensor:
        scores = scores.masked_fill(forbidden, -torch.inf)
        group_scores = scores.unflatten(-1, (self.n_group, -1)).amax(-1)  # (tokens, n_group)
        outside = outside_best_groups(group_scores, self.topk_group, scores)  # (tokens, E)
        return super().select(scores, forbidden | outside)


class BiasedTopKRouter(TopKRouter):
    """DeepSeek-V3: a bias per expert takes part in the choice, never in the weight (eq. 12 to 16).

    Experts are chosen by s + b and weighted by s. The bias is no parameter: training moves it by
    `update_bias`, once per optimiser step. With topk_group below n_group the choice is limited to
    nodes: a group is as good as its two best experts together (V3, section 2.1.2).
    """

    name, title = "biased_topk", "Sigmoid, selection bias (DeepSeek-V3, 2024)"
    variants = {
        "sqrtsoftplus": ("√softplus, bias (DeepSeek-V4, 2026)", {"scoring_func": "sqrtsoftplus"})
    }
    options = (*TopKRouter.options, "topk_group")
    scoring_func, norm_topk_prob = "sigmoid", True
    balanced_by, collapses = (*Router.balanced_by, "bias_update_speed"), False
    smallest_group = 2  # a group is scored by its two best
    follows_decoding_plan = True

    def __init__(self, *sizes: int, **options):
        super().__init__(*sizes, **options)
        self.register_buffer("selection_bias", torch.zeros(self.n_routed_experts))

    def select(self, scores: Tensor, forbidden: Tensor) -> Tensor:
        biased = (scores + self.selection_bias.to(scores.dtype)).masked_fill(forbidden, -torch.inf)
        if self.topk_group < self.n_group:
            groups = biased.unflatten(-1, (self.n_group, -1))  # (tokens, n_group, E / n_group)
            group_scores = groups.topk(2, dim=-1).values.sum(-1)  # (tokens, n_group)
            forbidden = forbidden | outside_best_groups(group_scores, self.topk_group, scores)
        return super().select(biased, forbidden)

    @torch.no_grad()
    def update_bias(self, load: Tensor, speed: float) -> None:
        """Auxiliary-loss-free balancing: b_i += speed · sign(mean load − load_i).

        load (E,) is of a whole, finished optimiser step: counted from the sequence at hand it would
        tell a token about later ones (Loss-Free Balancing 2024, algorithm 1; DeepSeek-V3 section
        2.1.2, speed 0.001). Raises ValueError for a load of another length."""
        bias = self.selection_bias
        require_tensor("load", load, bias.shape, low=0, finite=True)
        require_number("speed", speed, at_least=0)
        # The sign of E · (mean − load): whole numbers need no float64, which Apple's GPU lacks.
        sign = (load.sum() - len(load) * load).sign()
        bias += speed * sign.to(bias)

    def _apply(self, fn, recurse: bool = True):
        """The bias keeps at least float32 when the model turns to half precision: at 1 a bfloat16
        moves by steps of 0.008, and a speed of 0.001 would be rounded away."""
        before = self.selection_bias
        super()._apply(fn, recurse)
        if torch.finfo(self.selection_bias.dtype).bits < 32:
            self.selection_bias = before.to(self.selection_bias.device, torch.float32)
        return self


class TopKSoftmaxRouter(Router):
    """gpt-oss: the k largest logits, which have a learned bias, then a softmax over those k alone.
    The weights equal Mixtral's softmax over all, renormalised: the same numbers by another road."""

    name, title = "topk_softmax", "Softmax over the chosen (gpt-oss, 2025)"
    learned, fewest_k, sums_to_one = ("weight", "bias"), 2, True

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) + self.bias

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        best, experts = logits.topk(self.num_experts_per_tok, dim=-1)  # (tokens, k) each
        return self.routing(experts, best.softmax(-1), logits.softmax(-1), logits)


def outside_best_groups(group_scores: Tensor, topk_group: int, like: Tensor) -> Tensor:
    """group_scores (tokens, n_group) -> (tokens, E) bool, True outside the best groups."""
    best = group_scores.topk(topk_group, dim=-1).indices  # (tokens, topk_group)
    outside = torch.ones_like(group_scores, dtype=torch.bool).scatter(1, best, False)
    return outside.repeat_interleave(like.shape[-1] // group_scores.shape[-1], dim=-1)
