"""Wrong answers to the exercises of chapter 05, each refused with the hint that fits it."""

import math
import re

import pytest
import torch
from torch.nn.functional import softplus

from moe_course.checks.chapter_05 import CHECKS
from moe_course.checks.exercises import run_check
from moe_course.checks.verdicts import NOT_ATTEMPTED, NOT_YET


def message(exercise, answer) -> str:
    torch.manual_seed(0)
    verdict = run_check(exercise, CHECKS[exercise], answer)
    assert verdict.status == NOT_YET, verdict
    assert "Your code stopped" not in verdict.message
    return verdict.message


def test_right_answers_pass_and_no_answer_is_none():
    for exercise, answer in (
        ("05.1", group_limited()),
        ("05.2", choose_v3()),
        ("05.3", keep()),
        ("05.4", gated_hash()),
    ):
        assert run_check(exercise, CHECKS[exercise], answer).passed, exercise
        nothing = run_check(exercise, CHECKS[exercise], lambda *arguments: None)
        assert nothing.status == NOT_ATTEMPTED


def within(scores, k, groups, kept, outside=-torch.inf, stretch=None):
    best = groups.topk(kept, dim=-1).indices
    allowed = torch.zeros_like(groups, dtype=torch.bool).scatter(1, best, True)
    times = scores.shape[-1] // groups.shape[-1]
    allowed = stretch(allowed, times) if stretch else allowed.repeat_interleave(times, dim=-1)
    return scores.masked_fill(~allowed, outside).topk(k, dim=-1).indices


def group_limited(score=lambda g: g.amax(-1), order=lambda e: e, **options):
    def answer(scores, k, n_group, topk_group):
        groups = score(scores.unflatten(-1, (n_group, -1)))
        return order(within(scores, k, groups, topk_group, **options))

    return answer


def by_size(scores, k, n_group, topk_group):
    """n_group taken for the size of a group, where that can be done."""
    if scores.shape[-1] % n_group or topk_group > scores.shape[-1] // n_group:
        return torch.full((len(scores), k), -1)
    groups = scores.unflatten(-1, (-1, n_group)).amax(-1)
    return within(scores, k, groups, topk_group)


def every_nth(scores, k, n_group, topk_group):
    groups = scores.unflatten(-1, (-1, n_group)).amax(-2)
    repeated = dict(stretch=lambda allowed, times: allowed.repeat(1, times))
    return within(scores, k, groups, topk_group, **repeated)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda scores, k, n_group, topk_group: scores.topk(k).indices, "k best of all experts"),
        (group_limited(lambda g: g.sum(-1)), r"sum \(or mean\)"),
        (group_limited(lambda g: g.mean(-1)), r"sum \(or mean\)"),
        (group_limited(lambda g: g.topk(2).values.sum(-1)), "DeepSeek-V3's rule"),
        (group_limited(lambda g: -g.amax(-1)), "keep the worst groups"),
        (group_limited(stretch=lambda allowed, times: allowed.repeat(1, times)), "interleaves"),
        (every_nth, "every n-th expert"),
        (by_size, "not their size"),
        (group_limited(order=lambda experts: experts.flip(-1)), "another order"),
        (group_limited(order=lambda experts: experts.sort(-1).values), "another order"),
        (lambda scores, k, n_group, topk_group: scores.topk(k).values, "dtype"),
    ],
)
def test_group_limited(answer, words):
    assert re.search(words, message("05.1", answer))


def choose_v3(outside=-torch.inf, chosen_by=None, groups_by=None, score=None):
    def answer(scores, bias, k, n_group, topk_group):
        biased = scores + bias
        groups = (biased if groups_by is None else groups_by(scores, bias)).unflatten(
            -1, (n_group, -1)
        )
        groups = groups.topk(2, dim=-1).values.sum(-1) if score is None else score(groups)
        by = biased if chosen_by is None else chosen_by(scores, bias)
        return within(by, k, groups, topk_group, outside)

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (choose_v3(outside=0.0), "visit a group that is not among their best"),
        (choose_v3(outside=-1.0), "what if all allowed ones are lower"),
        (choose_v3(outside=-10.0), "what if all allowed ones are lower"),
        (choose_v3(outside=-100.0), "what if all allowed ones are lower"),
        (choose_v3(outside=-50.0), "what if all allowed ones are lower"),
        (choose_v3(chosen_by=lambda s, b: s), "missing in the choice of the experts"),
        (choose_v3(groups_by=lambda s, b: s), "groups are scored without the bias"),
        (
            choose_v3(chosen_by=lambda s, b: s, groups_by=lambda s, b: s),
            "takes no part at all",
        ),
        (lambda s, b, k, n_group, topk_group: (s + b).topk(k).indices, "group limit is gone"),
        (choose_v3(score=lambda groups: groups.amax(-1)), "V2's rule"),
        (
            lambda *given: choose_v3()(*given).flip(-1),
            "another order",
        ),
    ],
)
def test_choose_v3(answer, words):
    assert words in message("05.2", answer)


def keep(
    room=lambda tokens, k, n_experts, factor: math.ceil(factor * tokens * k / n_experts),
    evaluation=torch.ones_like,
    by_token=False,
    last_first=False,
    late=0,
):
    def answer(experts, n_experts, factor, training):
        if not training and evaluation is not None:
            return evaluation(experts, dtype=torch.bool)
        tokens, k = experts.shape
        places = room(tokens, k, n_experts, factor)
        pairs = [(token, rank) for rank in range(k) for token in range(tokens)]
        pairs = sorted(pairs) if by_token else pairs
        if last_first:
            pairs = sorted(pairs, key=lambda pair: (pair[1], -pair[0]))
        taken, kept = [0] * n_experts, torch.zeros_like(experts, dtype=torch.bool)
        for token, rank in pairs:
            expert = int(experts[token, rank])
            kept[token, rank] = taken[expert] < places + late
            taken[expert] += int(kept[token, rank])
        return kept

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (keep(room=lambda tokens, k, n, f: int(f * tokens * k / n)), "What is `room` here?"),
        (keep(room=lambda tokens, k, n, f: max(1, int(f * tokens * k / n))), "rounded down"),
        (keep(evaluation=None), "Does any line read `training`?"),
        (keep(late=1), "one seat too many"),
        (keep(by_token=True), "seated together"),
        (keep(last_first=True), "last come"),
        (keep(room=lambda tokens, k, n, f: math.ceil(f * tokens / n)), "counts tokens"),
        (keep(room=lambda tokens, k, n, f: math.ceil(tokens * k / n)), "factor takes no part"),
        (lambda e, n, f, training: torch.ones_like(e, dtype=torch.bool), "nothing is dropped"),
        (lambda *given: keep()(*given).int(), "dtype"),
        (keep(evaluation=torch.zeros_like), "dropped at evaluation"),
    ],
)
def test_keep(answer, words):
    assert words in message("05.3", answer)


def gated_hash(
    affinity=lambda logits: softplus(logits).sqrt(),
    divide=True,
    by_all=False,
    scaled=True,
    look_up=lambda logits, ids, table: table[ids],
    weigh=None,
):
    def answer(logits, ids, table, scale):
        scores, experts = affinity(logits), look_up(logits, ids, table)
        weights = scores.gather(1, experts)
        if divide:
            weights = weights / (scores if by_all else weights).sum(-1, keepdim=True)
        if weigh is not None:
            weights = weigh(weights)
        return experts, weights * scale if scaled else weights

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (gated_hash(affinity=softplus), "square root is missing"),
        (gated_hash(affinity=torch.sigmoid), "V3's weights"),
        (gated_hash(affinity=lambda logits: logits.softmax(-1)), "a softmax over all experts"),
        (
            gated_hash(affinity=lambda logits: softplus(logits).sqrt().exp()),
            "instead of a division",
        ),
        (gated_hash(divide=False), "nothing divides them"),
        (gated_hash(by_all=True), "the sum over all experts; want"),
        (gated_hash(scaled=False), "`scale` is not used"),
        (gated_hash(weigh=lambda w: torch.full_like(w, 1 / w.shape[1])), "the same weight"),
        (gated_hash(weigh=lambda w: w.sort(-1).values), "wrong experts"),
        (
            gated_hash(look_up=lambda logits, ids, table: logits.topk(table.shape[1]).indices),
            "the gate or the table",
        ),
        (
            gated_hash(
                look_up=lambda logits, ids, table: table[torch.arange(len(ids)) % len(table)]
            ),
            "want its id",
        ),
        (lambda logits, ids, table, scale: table[ids], "Two things are wanted"),
    ],
)
def test_gated_hash(answer, words):
    assert words in message("05.4", answer)
