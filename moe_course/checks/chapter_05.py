"""Checks of the exercises of chapter 05, routing."""

import math

import torch

from moe_course.checks.comparisons import (
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_true,
)
from moe_lib.model.routers import BiasedTopKRouter, GroupLimitedRouter, TopKRouter


def _in_groups(scores, k, group_scores, topk_group, outside=-torch.inf):
    """The k best experts of the best groups, by these group scores (tokens, n_group)."""
    best = group_scores.topk(topk_group, dim=-1).indices
    allowed = torch.zeros_like(group_scores, dtype=torch.bool).scatter(1, best, True)
    allowed = allowed.repeat_interleave(scores.shape[-1] // group_scores.shape[-1], dim=-1)
    return scores.masked_fill(~allowed, outside).topk(k, dim=-1).indices


def _groups_of_size(scores, k, size, topk_group):
    """What comes out when n_group is taken as the size of a group; the right shape even where that
    cannot be done."""
    if scores.shape[-1] % size or topk_group > scores.shape[-1] // size or k > topk_group * size:
        return torch.full((len(scores), k), -1)
    return _in_groups(scores, k, scores.unflatten(-1, (-1, size)).amax(-1), topk_group)


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
        by_size = _groups_of_size(scores, k, n_group, topk_group)
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
                "one, amax": _in_groups(scores, k, groups.sum(-1), topk_group),
                "you score a group by its two best experts. That is DeepSeek-V3's rule; V2 "
                "takes the best one": _in_groups(
                    scores, k, groups.topk(min(2, groups.shape[-1]), -1).values.sum(-1), topk_group
                ),
                "you keep the worst groups": _in_groups(scores, k, -groups.amax(-1), topk_group),
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
    for level in (0.0, 0.3, -0.9, -5.0):
        bias = level + 0.2 * torch.randn(n_experts)
        router.selection_bias.copy_(bias)
        expected = router.route(logits).experts
        biased = scores + bias
        pairs = _pairs(biased, n_group)
        answer = choose_v3(scores.clone(), bias.clone(), k, n_group, topk_group)
        expect_shape(answer, tuple(expected.shape), "the experts")
        outside = ~(answer[..., None] == _allowed(pairs, topk_group, n_experts)[:, None]).any(-1)
        n_outside = int(outside.any(1).sum())
        _check_experts(
            answer,
            expected,
            f"the experts with a bias of about {level:+.1f}",
            {
                f"{n_outside} of 64 tokens visit a group that is not among their best. What "
                "did a forbidden expert get "
                "as its score, and what if all allowed ones are lower?": _in_groups(
                    biased, k, pairs, topk_group, outside=0.0
                ),
                "the bias is missing in the choice of the experts": _in_groups(
                    scores, k, pairs, topk_group
                ),
                "the bias takes no part at all": _in_groups(
                    scores, k, _pairs(scores, n_group), topk_group
                ),
                "the groups are scored without the bias": _in_groups(
                    biased, k, _pairs(scores, n_group), topk_group
                ),
                "the group limit is gone: these are the k best of all": biased.topk(
                    k, dim=-1
                ).indices,
            },
        )
    return "A forbidden expert now loses against every score, also a negative one."


def _pairs(scores, n_group):
    """The two best scores of each group together, (tokens, n_group)."""
    return scores.unflatten(-1, (n_group, -1)).topk(2, dim=-1).values.sum(-1)


def _allowed(group_scores, topk_group, n_experts):
    """Numbers of the allowed experts of each token, (tokens, topk_group · group size)."""
    size = n_experts // group_scores.shape[-1]
    first = group_scores.topk(topk_group, dim=-1).indices * size
    return (first[..., None] + torch.arange(size)).flatten(1)


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
                "the room is rounded down; round up": _seated(
                    routing.experts, n_experts, max(1, int(factor * tokens * k / n_experts))
                ).int(),
                "there is one seat too many": _seated(routing.experts, n_experts, room + 1).int(),
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
    return "Room for at least one, and at evaluation for all."


def _seated(experts, n_experts, room):
    taken, kept = [0] * n_experts, torch.zeros_like(experts, dtype=torch.bool)
    for rank in range(experts.shape[1]):
        for token, expert in enumerate(experts[:, rank].tolist()):
            kept[token, rank] = taken[expert] < room
            taken[expert] += int(kept[token, rank])
    return kept


def _entropy(labels):
    p = torch.bincount(labels).double() / len(labels)
    return -(p[p > 0] * p[p > 0].log2()).sum()


def _information_of(a, b, columns):
    """The bits that come out when pairs are numbered a · columns + b, with too few columns; nan if
    that cannot be."""
    rows = int(a.max()) + 1
    if columns < 1:
        return torch.tensor(math.nan)
    counts = torch.bincount(a * columns + b, minlength=rows * columns)
    if len(counts) != rows * columns:
        return torch.tensor(math.nan)
    joint = counts.view(rows, columns).double() / len(a)
    alone = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    there = joint > 0
    return (joint[there] * (joint[there] / alone[there]).log2()).sum()


def check_mutual_information(mutual_information):
    coins = torch.randint(2, (400,))
    dice = torch.randint(6, (400,))
    cases = [
        ("b equal to a, four values", torch.arange(4).repeat(8), torch.arange(4).repeat(8)),
        ("independent labels", torch.arange(4).repeat(6), torch.arange(6).repeat_interleave(4)),
        ("b = a + a coin", dice, dice + coins),
        ("b with values that a never has", coins, 3 * coins + 7),
    ]
    for name, a, b in cases:
        expected = (
            _entropy(a) + _entropy(b) - _entropy(a * (int(b.max()) + 1) + b)
        )  # another road to the same number
        answer = mutual_information(a.clone(), b.clone())
        answer = (
            torch.as_tensor(float(answer)) if isinstance(answer, (float, torch.Tensor)) else answer
        )
        expect_close(
            answer,
            expected.float(),
            f"the bits for {name}",
            hints={
                "the sum is not a number: 0 · log 0. Leave out the cells with "
                "p(a, b) = 0": lambda bits: bool(bits.isnan()),
                "these are nats: use log2": expected * math.log(2),
                "the sign is the wrong way round": -expected,
                "this is the entropy of a": _entropy(a),
                "this is the entropy of the pair, without the division by p(a) p(b)": _entropy(
                    a * (int(b.max()) + 1) + b
                ),
                "counts must become shares: divide by n first": expected * len(a),
                "different pairs share one number: with m values of b, a · m + b needs m = "
                "b.max() + 1": _information_of(a, b, int(b.max())),
            },
            atol=1e-4,
        )
    return "0 for independent labels, the entropy where one decides the other."


CHECKS = {
    "05.1": check_group_limited,
    "05.2": check_choose_v3,
    "05.3": check_keep,
    "05.4": check_mutual_information,
}
