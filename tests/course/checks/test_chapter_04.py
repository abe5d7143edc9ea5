"""Wrong answers to the exercises of chapter 04: each is refused, with the hint that fits it."""

import math
import re

import pytest
import torch

from moe_course import check


def by_expert(rule, expert):
    """Per expert the rules of its tokens."""
    return [rule[expert == e] for e in expert.unique()]


def of_rule(rule, expert):
    return by_expert(expert, rule)


def most_common(values):
    return torch.bincount(values).max()


PURITY = {
    "mean over experts": (
        lambda r, e: sum(most_common(o) / len(o) for o in by_expert(r, e)) / len(e.unique()),
        "three tokens counts as much",
    ),
    "mean over all numbers": (
        lambda r, e: sum(most_common(o) / len(o) for o in by_expert(r, e)) / (int(e.max()) + 1),
        "nobody chose",
    ),
    "turned round": (
        lambda r, e: sum(most_common(o) for o in of_rule(r, e)) / len(r),
        "Turn it round",
    ),
    "numbers compared": (lambda r, e: (r == e).float().mean(), "numbers of experts mean nothing"),
    "a count": (lambda r, e: sum(most_common(o) for o in by_expert(r, e)), "a share of all tokens"),
    "one expert": (
        lambda r, e: max(most_common(o) for o in by_expert(r, e)) / len(r),
        "largest count of all",
    ),
    "the rules alone": (lambda r, e: most_common(r) / len(r), "whatever the experts do"),
    "pairs": (
        lambda r, e: float(len({*zip(r.tolist(), e.tolist(), strict=True)})),
        "count the pairs",
    ),
    "empty experts": (
        lambda r, e: (
            torch.stack(
                [
                    most_common(r[e == n]) / (e == n).sum() if (e == n).any() else torch.tensor(1.0)
                    for n in range(9)
                ]
            )
            .log()
            .sum()
            * float("nan")
        ),
        "NaN",
    ),
    "nothing": (lambda r, e: None, "None"),
}


def deltas(outputs, grad_y):
    return outputs @ grad_y


def by_autograd(logits, outputs, grad_y):
    logits = logits.clone().requires_grad_()
    (logits.softmax(0) @ outputs @ grad_y).backward()
    return logits.grad


def by_allowed_autograd(logits, outputs, grad_y):
    with torch.enable_grad():
        return by_autograd(logits, outputs, grad_y)


def softmaxed(change):
    """An answer from the weights a and the deltas."""
    return lambda logits, outputs, grad_y: change(logits.softmax(0), deltas(outputs, grad_y))


GRADIENT = {
    "of the weights": (softmaxed(lambda a, d: d), "gradient of the weights a"),
    "no mean": (softmaxed(lambda a, d: a * d), "do not subtract the mean"),
    "plain mean": (softmaxed(lambda a, d: a * (d - d.mean())), "must be weighted by a"),
    "no factor": (softmaxed(lambda a, d: d - a @ d), "factor a in front is missing"),
    "alone": (softmaxed(lambda a, d: a * (1 - a) * d), "other experts' deltas"),
    "mean added": (softmaxed(lambda a, d: a * (d + a @ d)), "must be subtracted"),
    "sign": (softmaxed(lambda a, d: a * (a @ d - d)), "sign is the other way round"),
    "zero": (softmaxed(lambda a, d: torch.zeros_like(a)), "all zero"),
    "no softmax": (lambda lo, o, g: lo * (o @ g - lo @ (o @ g)), "softmax is missing"),
    "summed outputs": (
        lambda lo, o, g: lo.softmax(0) * (o.sum(1) - lo.softmax(0) @ o.sum(1)),
        "only summed",
    ),
    "matrix": (lambda lo, o, g: lo.softmax(0)[:, None] * o * g, "dimension too many"),
    "autograd": (by_autograd, "by hand"),
    "autograd switched on": (by_allowed_autograd, "by hand"),
}


def top1(weigh, choose=lambda scores: scores.topk(1), score=lambda x, r: (x @ r.T).softmax(-1)):
    """A top-1 layer whose weight is `weigh(weight, scores, x @ router.T)`."""

    def layer(x, router, experts):
        scores = score(x, router)
        weight, chosen = choose(scores)
        weight = weigh(weight, chosen, x @ router.T)
        output = torch.zeros_like(x)
        for e, expert in enumerate(experts):
            token, rank = torch.where(chosen == e)
            output = output.index_add(0, token, weight[token, rank, None] * expert(x[token]))
        return output

    return layer


TOP1 = {
    "as it was": (top1(lambda w, c, z: w / w.sum(-1, keepdim=True)), "gets no gradient"),
    "weight left out": (top1(lambda w, c, z: torch.ones_like(w)), "does not depend on the router"),
    "detached": (top1(lambda w, c, z: w.detach()), "does not depend on the router"),
    "softmax of the chosen": (top1(lambda w, c, z: z.gather(1, c).softmax(-1)), "gets no gradient"),
    "over the tokens": (top1(lambda w, c, z: w / w.sum()), "what stands beside it"),
    "straight through": (top1(lambda w, c, z: w - w.detach() + 1), "still 1 in the output"),
    "logit": (top1(lambda w, c, z: z.gather(1, c)), "weight is the logit"),
    "logarithm": (top1(lambda w, c, z: w.log()), "logarithm of the probability"),
    "squared": (top1(lambda w, c, z: w * w), "there twice"),
    "sigmoid": (top1(lambda w, c, z: z.gather(1, c).sigmoid()), "sigmoid of the logit"),
    "two chosen": (top1(lambda w, c, z: w, lambda s: s.topk(2)), "layer has k = 1"),
    "two, divided": (
        top1(lambda w, c, z: w / w.sum(-1, keepdim=True), lambda s: s.topk(2)),
        "layer has k = 1",
    ),
    "least likely": (
        top1(lambda w, c, z: w, lambda s: s.topk(1, largest=False)),
        "not the probability of the chosen",
    ),
}


def loop(rule):
    """A loop over the experts: rule(output, x, token, rank, weights, expert) -> the new output."""

    def moe_loop(x, chosen, weights, experts):
        output = torch.zeros_like(x)
        for e, expert in enumerate(experts):
            token, rank = torch.where(chosen == e)
            output = rule(output, x, token, rank, weights, expert)
        return output

    return moe_loop


def forgotten(output, x, token, rank, weights, expert):
    output.index_add(0, token, weights[token, rank, None] * expert(x[token]))
    return output


def overwritten(output, x, token, rank, weights, expert):
    output[token] = weights[token, rank, None] * expert(x[token])
    return output


def with_mask(x, chosen, weights, experts):
    mask = torch.zeros(len(x), len(experts)).scatter(1, chosen, weights)
    return sum(mask[:, e, None] * expert(x) for e, expert in enumerate(experts))


def token_by_token(x, chosen, weights, experts):
    rows = []
    for t in range(len(x)):
        pairs = zip(weights[t], chosen[t], strict=True)
        rows.append(sum(w * experts[e](x[t : t + 1])[0] for w, e in pairs))
    return torch.stack(rows)


def by_rank(ranks):
    """Only these ranks arrive, and by assignment."""

    def moe_loop(x, chosen, weights, experts):
        output = torch.zeros_like(x)
        for rank in range(chosen.shape[1])[ranks]:
            for e, expert in enumerate(experts):
                token = torch.where(chosen[:, rank] == e)[0]
                output[token] = weights[token, rank, None] * expert(x[token])
        return output

    return moe_loop


LOOP = {
    "result forgotten": (loop(forgotten), "returns a new tensor"),
    "overwritten": (loop(overwritten), "`index_add`, or `\\+=`"),
    "no weights": (
        loop(lambda o, x, t, r, w, f: o.index_add(0, t, f(x[t]))),
        "without their weights",
    ),
    "first weight": (
        loop(lambda o, x, t, r, w, f: o.index_add(0, t, w[t, 0, None] * f(x[t]))),
        "which rank",
    ),
    "weights inside": (
        loop(lambda o, x, t, r, w, f: o.index_add(0, t, f(w[t, r, None] * x[t]))),
        "not linear",
    ),
    "begins at x": (
        lambda x, c, w, f: (
            x
            + loop(lambda o, x, t, r, w, f: o.index_add(0, t, w[t, r, None] * f(x[t])))(x, c, w, f)
        ),
        "begins as x",
    ),
    "first choices": (by_rank(slice(0, 1)), "only each token's first choice"),
    "last choices": (by_rank(slice(None)), "only each token's last choice"),
    "mask": (with_mask, "ran on 36 rows"),
    "token by token": (token_by_token, "were called 18 times"),
}


def plan(width, experts):
    return lambda h, d, k, b: (width(h, d, k, b), experts(h, d, k, b))


def share(h, d, k, b):
    return d // k


def whole(h, d, k, b):
    return b // (3 * h * (d // k) + h)


PLAN = {
    "swapped": (plan(whole, share), "order is \\(width, experts\\)"),
    "one number": (whole, "two whole numbers"),
    "width of the dense layer": (plan(lambda h, d, k, b: d, whole), "as wide as the whole dense"),
    "width times k": (plan(lambda h, d, k, b: d * k, whole), "divide, do not multiply"),
    "rounded up": (
        plan(share, lambda h, d, k, b: math.ceil(b / (3 * h * (d // k) + h))),
        "no longer fits",
    ),
    "rounded": (
        plan(share, lambda h, d, k, b: round(b / (3 * h * (d // k) + h))),
        "no longer fits",
    ),
    "no router": (plan(share, lambda h, d, k, b: b // (3 * h * (d // k))), "router is missing"),
    "one row": (plan(share, lambda h, d, k, b: (b - h) // (3 * h * (d // k))), "one row"),
    "two matrices": (
        plan(share, lambda h, d, k, b: b // (2 * h * (d // k) + h)),
        "three matrices",
    ),
    "one matrix": (plan(share, lambda h, d, k, b: b // (h * (d // k) + h)), "one matrix only"),
    "without the chosen": (plan(share, lambda *a: whole(*a) - a[2]), "are taken off"),
    "with the chosen": (plan(share, lambda *a: whole(*a) + a[2]), "are added"),
    "a fraction": (
        plan(share, lambda h, d, k, b: b / (3 * h * (d // k) + h)),
        "part of an expert",
    ),
}

CASES = [
    pytest.param(name, *case, id=f"{name} {title}")
    for name, cases in (
        ("04.1", PURITY),
        ("04.2", GRADIENT),
        ("04.3", TOP1),
        ("04.4", LOOP),
        ("04.5", PLAN),
    )
    for title, case in cases.items()
]


@pytest.mark.parametrize("exercise, answer, words", CASES)
def test_wrong_answer_is_refused_with_the_hint_that_fits(exercise, answer, words):
    verdict = check(exercise, answer)
    assert not verdict.passed
    assert re.search(words, verdict.message), verdict.message


def added(output, x, token, rank, weights, expert):
    output[token] += weights[token, rank, None] * expert(x[token])
    return output


RIGHT = {
    "04.1": lambda r, e: float(sum(most_common(o) for o in by_expert(r, e)) / len(r)),
    "04.2": softmaxed(lambda a, d: a * d - a * (a * d).sum()),
    "04.3": top1(lambda w, c, z: w),
    "04.4": loop(added),
    "04.5": plan(share, whole),
}


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answers_in_another_form_pass(exercise):
    verdict = check(exercise, RIGHT[exercise])
    assert verdict.passed, verdict.message
