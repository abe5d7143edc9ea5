"""Checks of the exercises of chapter 05, routing."""

import math

import torch

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_true,
)
from moe_course.checks.routing_mistakes import (
    allowed_experts,
    groups_of_size,
    in_groups,
    pairs_of_best,
    seated,
    seated_by_token,
    spread,
)
from moe_lib.model.routers import (
    BiasedTopKRouter,
    GatedHashRouter,
    GroupLimitedRouter,
    TopKRouter,
)


def _check_experts(answer, expected, what, hints):
    expect_shape(answer, tuple(expected.shape), what)
    expect_dtype(answer, torch.int64, what)
    expect_close(
        answer,
        expected,
        what,
        hints={
            **hints,
            "the right experts, in another order: want the best first": lambda a: torch.equal(
                a.sort(-1).values, expected.sort(-1).values
            ),
        },
    )


def check_group_limited(group_limited):
    for tokens, n_experts, k, n_group, topk_group in (
        (60, 12, 3, 3, 2),
        (40, 8, 2, 4, 2),
        (50, 16, 4, 8, 3),
    ):
        router = GroupLimitedRouter(2, n_experts, k, n_group=n_group, topk_group=topk_group).eval()
        logits = 2 * torch.randn(tokens, n_experts)
        scores, expected = logits.softmax(-1), router.route(logits).experts
        groups = scores.unflatten(-1, (n_group, -1))
        interleaved = scores.unflatten(-1, (-1, n_group)).amax(-2)
        strided = interleaved.topk(topk_group, dim=-1).indices
        allowed = (
            torch.zeros_like(interleaved, dtype=torch.bool)
            .scatter(1, strided, True)
            .repeat(1, n_experts // n_group)
        )
        best = groups.amax(-1).topk(topk_group, dim=-1).indices
        repeated = (
            torch.zeros_like(groups[..., 0], dtype=torch.bool)
            .scatter(1, best, True)
            .repeat(1, n_experts // n_group)
        )
        by_size = groups_of_size(scores, k, n_group, topk_group)
        what = (
            f"the experts for E = {n_experts}, k = {k}, {n_group} groups, {topk_group} of them kept"
        )
        answer = group_limited(scores.clone(), k, n_group, topk_group)
        _check_experts(
            answer,
            expected,
            what,
            {
                "these are the k best of all experts: where does the limit come in?": scores.topk(
                    k, dim=-1
                ).indices,
                "you score a group by the sum (or mean) of its experts; want the best "
                "one, amax": in_groups(scores, k, groups.sum(-1), topk_group),
                "you score a group by its two best experts. That is DeepSeek-V3's rule; V2 "
                "takes the best one": in_groups(
                    scores, k, groups.topk(min(2, groups.shape[-1]), -1).values.sum(-1), topk_group
                ),
                "you keep the worst groups": in_groups(scores, k, -groups.amax(-1), topk_group),
                "your groups are every n-th expert; want blocks of neighbours, (n_group, E / "
                "n_group)": scores.masked_fill(~allowed, -torch.inf).topk(k, dim=-1).indices,
                "the groups are scored well, but the mask of groups is stretched with "
                ".repeat, which interleaves them; "
                "want .repeat_interleave": scores.masked_fill(~repeated, -torch.inf)
                .topk(k, dim=-1)
                .indices,
                "n_group is the number of groups, not their size": by_size,
            },
        )
    return (
        "Blocks of neighbours, each as good as its best expert. (With scores above 0 a mask of 0 "
        "passes too; see 05.2.)"
    )


def check_choose_v3(choose_v3):
    n_experts, k, n_group, topk_group = 16, 4, 4, 2
    router = BiasedTopKRouter(2, n_experts, k, n_group=n_group, topk_group=topk_group).eval()
    logits = torch.randn(64, n_experts)
    scores = logits.sigmoid()
    for level in (0.0, 0.3, -0.9, -5.0, -60.0, -1000.0):
        bias = level + 0.2 * torch.randn(n_experts)
        router.selection_bias.copy_(bias)
        expected = router.route(logits).experts
        biased = scores + bias
        pairs = pairs_of_best(biased, n_group)
        answer = choose_v3(scores.clone(), bias.clone(), k, n_group, topk_group)
        expect_shape(answer, tuple(expected.shape), "the experts")
        outside = ~(
            answer[..., None] == allowed_experts(pairs, topk_group, n_experts)[:, None]
        ).any(-1)
        n_outside = int(outside.any(1).sum())
        _check_experts(
            answer,
            expected,
            f"the experts with a bias of about {level:+.1f}",
            {
                f"{n_outside} of 64 tokens visit a group that is not among their best. What "
                "did a forbidden expert get "
                "as its score, and what if all allowed ones are lower?": in_groups(
                    biased, k, pairs, topk_group, outside=0.0
                ),
                "the bias is missing in the choice of the experts": in_groups(
                    scores, k, pairs, topk_group
                ),
                "the bias takes no part at all": in_groups(
                    scores, k, pairs_of_best(scores, n_group), topk_group
                ),
                "the groups are scored without the bias": in_groups(
                    biased, k, pairs_of_best(scores, n_group), topk_group
                ),
                "the group limit is gone: these are the k best of all": biased.topk(
                    k, dim=-1
                ).indices,
                "a group is scored by its best expert alone, which is V2's rule; V3 takes its two "
                "best together": in_groups(
                    biased, k, biased.unflatten(-1, (n_group, -1)).amax(-1), topk_group
                ),
                f"{n_outside} of 64 tokens visit a group that is not among their best. The score "
                "that you give to a forbidden expert is low: is it lower than every score that "
                "this bias can make?": lambda _, n=n_outside: n > 0,
            },
        )
    return "A forbidden expert now loses against every score, also a negative one."


def check_keep(keep):
    one = torch.tensor([[3, 7]])
    kept = keep(one.clone(), 16, 1.0, True)
    expect_shape(kept, (1, 2), "the answer for one token")
    expect_dtype(kept, torch.bool, "the answer for one token")
    expect_true(
        kept.all(),
        "One token, 16 experts, k = 2, in training: both choices are dropped, although every "
        "expert is empty. What is `room` here?",
    )
    for tokens, n_experts, k, factor in (
        (50, 8, 2, 1.0),
        (23, 16, 2, 1.25),
        (40, 4, 1, 0.5),
        (3, 64, 6, 1.0),
    ):
        router = TopKRouter(2, n_experts, k, capacity_factor=factor).train()
        routing = router.limit(
            router.route(torch.randn(tokens, n_experts) + torch.linspace(0, 2, n_experts))
        )
        what = f"kept, for {tokens} tokens, {n_experts} experts, k = {k}, factor {factor}"
        room = max(1, math.ceil(factor * tokens * k / n_experts))
        answer = keep(routing.experts.clone(), n_experts, factor, True)
        expect_close(
            answer.int(),
            routing.kept.int(),
            f"{what}, in training",
            hints={
                "nothing is dropped in training": torch.ones_like(routing.kept).int(),
                "True and False are exchanged: True is for what stays": (~routing.kept).int(),
                "all choices of a token are seated together; want all first choices, then all "
                "second ones": seated_by_token(routing.experts, n_experts, room).int(),
                "the room counts tokens and not choices: each token brings k of them": seated(
                    routing.experts, n_experts, max(1, math.ceil(factor * tokens / n_experts))
                ).int(),
                "the capacity factor takes no part in the room": seated(
                    routing.experts, n_experts, max(1, math.ceil(tokens * k / n_experts))
                ).int(),
                "the last come are served first": seated(routing.experts.flip(0), n_experts, room)
                .flip(0)
                .int(),
                "the room is rounded down; round up": seated(
                    routing.experts, n_experts, max(1, int(factor * tokens * k / n_experts))
                ).int(),
                "there is one seat too many": seated(routing.experts, n_experts, room + 1).int(),
            },
        )
        dropped = int((~keep(routing.experts.clone(), n_experts, factor, False).bool()).sum())
        expect_equal(
            dropped,
            0,
            f"the number of choices dropped at evaluation ({what[6:]})",
            hints={
                "the same as in training. Does any line read `training`?": int(
                    (~routing.kept).sum()
                )
            },
        )
    return "Room for at least one, and at evaluation, as in DeepSeek-V2, for all."


def check_gated_hash(gated_hash):
    tokens, n_experts, k, vocabulary = 60, 8, 3, 20
    table = torch.rand(vocabulary, n_experts).argsort(-1)[:, :k]  # (vocabulary, k)
    ids = torch.randint(vocabulary, (tokens,))
    for scale in (1.0, 1.5):
        logits = 2 * torch.randn(tokens, n_experts)
        router = GatedHashRouter(
            2, n_experts, k, vocab_size=vocabulary, routed_scaling_factor=scale
        ).eval()
        expected = router.gate(logits, table[ids])
        answer = gated_hash(logits.clone(), ids.clone(), table.clone(), scale)
        expect_answer(answer, "your answer")
        expect_true(
            isinstance(answer, tuple | list) and len(answer) == 2,
            "Two things are wanted: experts (tokens, k), weights (tokens, k).",
        )
        experts, weights = answer
        expect_shape(experts, (tokens, k), "the experts")
        expect_dtype(experts, torch.int64, "the experts")
        expect_shape(weights, (tokens, k), "the weights")
        by_logits = logits.topk(k, dim=-1).indices
        expect_close(
            experts.sort(-1).values,
            expected.experts.sort(-1).values,
            "the experts of each token, sorted",
            hints={
                "these are the experts with the largest logits: who chooses here, the gate or "
                "the table?": by_logits.sort(-1).values,
                "the table is asked for the place of a token in the text; want its id": table[
                    torch.arange(tokens) % vocabulary
                ]
                .sort(-1)
                .values,
            },
        )
        _check_gates(spread(experts, weights, n_experts), expected, logits, table[ids], scale)
    return "The table says who, the gate says how much: DeepSeek-V4's first MoE layers."


def _check_gates(answer, routing, logits, experts, scale):
    """answer (tokens, E): the weights, each at its expert."""
    n_experts = logits.shape[-1]

    def divided(scores, by=None):
        chosen = scores.gather(1, experts)
        total = chosen if by is None else by
        return spread(experts, scale * chosen / total.sum(-1, keepdim=True), n_experts)

    root = torch.nn.functional.softplus(logits).sqrt()
    wanted = divided(root)
    hints = {
        "the square root is missing: these weights come from the softplus alone": divided(
            torch.nn.functional.softplus(logits)
        ),
        "these are V3's weights, from a sigmoid": divided(logits.sigmoid()),
        "a softmax over all experts, divided by the sum of the chosen": divided(logits.softmax(-1)),
        "a softmax of the roots, instead of a division by their sum": divided(root.exp()),
        "the affinities are right, but nothing divides them by the sum over the chosen": spread(
            experts, scale * root.gather(1, experts), n_experts
        ),
        "they are divided by the sum over all experts; want the sum over the chosen": divided(
            root, by=root
        ),
        "every expert has the same weight, as in the Hash layers of 2021. Does the gate learn "
        "anything so?": torch.full_like(logits, scale / experts.shape[1])
        * spread(experts, torch.ones_like(experts, dtype=logits.dtype), n_experts),
        "the weights stand at the wrong experts: experts are put in order and weights are not, "
        "or the other way round": lambda got: torch.allclose(
            got.sort(-1).values, wanted.sort(-1).values, atol=1e-5
        ),
    }
    if scale != 1:
        hints["`scale` is not used: a token's weights still sum to 1"] = wanted / scale
    expect_close(answer, wanted, f"the weights for a scale of {scale:g}", hints=hints, atol=1e-5)


CHECKS = {
    "05.1": check_group_limited,
    "05.2": check_choose_v3,
    "05.3": check_keep,
    "05.4": check_gated_hash,
}
