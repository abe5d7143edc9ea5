"""Token choice, as today's models do it: each token takes its k best experts. They differ in score
and weight."""

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model.routers.base import Router
from moe_lib.model.routing import Routing


class TopKRouter(Router):
    """Scores over all experts, then the k largest (DeepSeekMoE equations 3 to 5; Mixtral; OLMoE).

    s = softmax(W x), or sigmoid(W x) with scoring_func "sigmoid". The k experts with the largest s
    are weighted by s itself (DeepSeek-V2, OLMoE), or by s divided by the sum of the chosen
    (`norm_topk_prob`: Mixtral, DeepSeek-V3).
    """

    def __init__(
        self,
        hidden_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        norm_topk_prob: bool = False,
        routed_scaling_factor: float = 1.0,
        *,
        scoring_func: str = "softmax",
        **options,
    ):
        super().__init__(
            hidden_size,
            n_routed_experts,
            num_experts_per_tok,
            routed_scaling_factor=routed_scaling_factor,
            **options,
        )
        require(
            scoring_func in ("softmax", "sigmoid"),
            "scoring_func",
            scoring_func,
            '"softmax" or "sigmoid"',
        )
        if norm_topk_prob and num_experts_per_tok == 1:
            raise ValueError(
                "norm_topk_prob: got True with num_experts_per_tok 1; wants False: one "
                "weight divided by itself is "
                "always 1, so the language-model loss would send the router no gradient at all"
            )
        self.norm_topk_prob, self.scoring_func = norm_topk_prob, scoring_func

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        scores = logits.softmax(-1) if self.scoring_func == "softmax" else logits.sigmoid()
        experts = self.select(scores.detach(), logits == -torch.inf)
        weights = scores.gather(1, experts)
        if self.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True).clamp(
                min=torch.finfo(weights.dtype).tiny
            )
        return self.routing(experts, weights, scores, logits)

    def select(self, scores: Tensor, forbidden: Tensor) -> Tensor:
        """scores (tokens, E), forbidden (tokens, E) bool -> the chosen experts (tokens, k), best
        first."""
        # -inf and not 0: a biased score can be negative, and then 0 would win (PITFALLS 11)
        return (
            scores.masked_fill(forbidden, -torch.inf).topk(self.num_experts_per_tok, dim=-1).indices
        )


class GroupLimitedRouter(TopKRouter):
    """Top-k within the best groups only: device-limited routing (DeepSeek-V2, section 2.2.2).

    Experts lie in n_group equal groups, one per device. A group is as good as its best expert; the
    topk_group best groups stay, and the k experts are chosen inside them. A token is then sent to
    topk_group devices at most.
    """

    def __init__(
        self,
        hidden_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        *,
        n_group: int,
        topk_group: int,
        **options,
    ):
        super().__init__(
            hidden_size, n_routed_experts, num_experts_per_tok, n_group=n_group, **options
        )
        self.topk_group = _checked_groups(
            n_routed_experts, num_experts_per_tok, n_group, topk_group
        )

    def select(self, scores: Tensor, forbidden: Tensor) -> Tensor:
        scores = scores.masked_fill(forbidden, -torch.inf)
        group_scores = scores.unflatten(-1, (self.n_group, -1)).amax(-1)  # (tokens, n_group)
        return super().select(
            scores, forbidden | outside_best_groups(group_scores, self.topk_group, scores)
        )


class BiasedTopKRouter(TopKRouter):
    """DeepSeek-V3: a bias per expert takes part in the choice, never in the weight (equations 12 to
    16).

    Experts are chosen by s + b and weighted by s. The bias is no parameter: training moves it a
    small step up for experts with less than the mean load and down for the others
    (`moe_lib.training.load_balance.update_selection_bias`; Loss-Free Balancing, 2024, algorithm 1).
    With n_group above 1 the choice is node-limited: a group is as good as its two best experts
    together (V3, section 2.1.2).
    """

    def __init__(
        self,
        hidden_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        *,
        scoring_func: str = "sigmoid",
        norm_topk_prob: bool = True,
        n_group: int = 1,
        topk_group: int | None = None,
        **options,
    ):
        super().__init__(
            hidden_size,
            n_routed_experts,
            num_experts_per_tok,
            norm_topk_prob,
            scoring_func=scoring_func,
            n_group=n_group,
            **options,
        )
        topk_group = n_group if topk_group is None else topk_group
        self.topk_group = _checked_groups(
            n_routed_experts, num_experts_per_tok, n_group, topk_group
        )
        require(
            n_group == 1 or n_routed_experts >= 2 * n_group,
            "n_group",
            n_group,
            "groups of at least two experts: a group is scored by its two best",
        )
        self.register_buffer("selection_bias", torch.zeros(n_routed_experts))

    def select(self, scores: Tensor, forbidden: Tensor) -> Tensor:
        biased = (scores + self.selection_bias.to(scores.dtype)).masked_fill(forbidden, -torch.inf)
        if self.topk_group < self.n_group:
            group_scores = biased.unflatten(-1, (self.n_group, -1)).topk(2, dim=-1).values.sum(-1)
            forbidden = forbidden | outside_best_groups(group_scores, self.topk_group, scores)
        return super().select(biased, forbidden)


class TopKSoftmaxRouter(Router):
    """gpt-oss: the k largest logits, then a softmax over those k alone; the logits have a learned
    bias.

    The weights equal Mixtral's softmax over all, renormalised: the same numbers by another road.
    """

    def __init__(
        self, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int, **options
    ):
        super().__init__(hidden_size, n_routed_experts, num_experts_per_tok, **options)
        require(
            num_experts_per_tok > 1,
            "num_experts_per_tok",
            num_experts_per_tok,
            "2 or more: a softmax over one logit is always 1 and teaches the router nothing",
        )
        self.bias = nn.Parameter(torch.zeros(n_routed_experts))

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) + self.bias

    def route(self, logits: Tensor, mask: Tensor | None = None) -> Routing:
        best, experts = logits.topk(self.num_experts_per_tok, dim=-1)
        return self.routing(experts, best.softmax(-1), logits.softmax(-1), logits)


def outside_best_groups(group_scores: Tensor, topk_group: int, like: Tensor) -> Tensor:
    """group_scores (tokens, n_group) -> (tokens, E) bool, True for experts outside the topk_group
    best groups."""
    best = group_scores.topk(topk_group, dim=-1).indices
    outside = torch.ones_like(group_scores, dtype=torch.bool).scatter(1, best, False)
    return outside.repeat_interleave(like.shape[-1] // group_scores.shape[-1], dim=-1)


def _checked_groups(
    n_routed_experts: int, num_experts_per_tok: int, n_group: int, topk_group: int
) -> int:
    require_whole("topk_group", topk_group)
    require(topk_group <= n_group, "topk_group", topk_group, f"at most n_group ({n_group})")
    reachable = topk_group * n_routed_experts // n_group
    require(
        num_experts_per_tok <= reachable,
        "num_experts_per_tok",
        num_experts_per_tok,
        f"at most {reachable}, the experts in topk_group ({topk_group}) groups",
    )
    return topk_group
