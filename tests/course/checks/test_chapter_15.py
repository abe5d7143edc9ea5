"""Wrong answers to the exercises of chapter 15: each is refused, with the hint that fits it."""

import re

import pytest
import torch
import torch.nn.functional as F

from moe_course import check


def real(gradient, mask):
    return gradient * mask[..., None]


def norm(values):
    return values.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-12)


def perturbation(rule):
    """rule(gradient without padding, its norm per text, gradient, epsilon) -> r."""

    def answer(gradient, mask, epsilon):
        without = real(gradient, mask)
        return rule(without, norm(without), gradient, epsilon)

    return answer


def every_token(without, n, gradient, epsilon):
    return epsilon * without / without.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def by_length(gradient, mask, epsilon):
    without = real(gradient, mask)
    return epsilon * mask.sum(1).sqrt()[:, None, None] * without / norm(without)


PERTURBATION = {
    "downhill": (perturbation(lambda w, n, g, e: -e * w / n), "downhill"),
    "every token": (perturbation(every_token), "every token is scaled by itself"),
    "whole batch": (perturbation(lambda w, n, g, e: e * w / w.norm()), "over the whole batch"),
    "padding too": (perturbation(lambda w, n, g, e: e * g / norm(g)), "padding is perturbed"),
    "padding in the norm": (
        perturbation(lambda w, n, g, e: e * w / norm(g)),
        "still in the norm",
    ),
    "no epsilon": (perturbation(lambda w, n, g, e: w / n), "epsilon is missing"),
    "square": (perturbation(lambda w, n, g, e: e * w / n**2), "square of the norm"),
    "signs": (perturbation(lambda w, n, g, e: e * w.sign()), "FGSM"),
    "sum": (
        perturbation(lambda w, n, g, e: e * w / w.flatten(1).abs().sum(1)[:, None, None]),
        "absolute values",
    ),
    "largest": (
        perturbation(lambda w, n, g, e: e * w / w.flatten(1).abs().amax(1)[:, None, None]),
        "largest number",
    ),
    "longer texts more": (by_length, "the length counts"),
    "zero over zero": (
        lambda g, m, e: e * real(g, m) / real(g, m).flatten(1).norm(dim=1)[:, None, None],
        "want 0 there, not nan",
    ),
    "one number": (perturbation(lambda w, n, g, e: (e * w / n).sum()), "one number"),
}


def answered(score, count=lambda n, coverage: round(n * coverage)):
    def answer(probabilities, targets, coverage):
        order = score(probabilities, targets).argsort(descending=True)
        kept = order[: count(len(targets), coverage)]
        return (probabilities[kept].argmax(-1) == targets[kept]).float().mean()

    return answer


def largest(p, t):
    return p.amax(-1)


def margin(p, t):
    best, second = p.topk(2).values.T
    return best - second


def entropy(p, t):
    return (p * p.log()).sum(-1)


def above(probabilities, targets, coverage):
    kept = probabilities.amax(-1) >= coverage
    return (probabilities[kept].argmax(-1) == targets[kept]).float().mean()


def of_all(probabilities, targets, coverage):
    kept = probabilities.amax(-1).argsort(descending=True)[: round(len(targets) * coverage)]
    return (probabilities[kept].argmax(-1) == targets[kept]).float().sum() / len(targets)


ANSWERED = {
    "least certain": (answered(lambda p, t: -p.amax(-1)), "least certain"),
    "right class": (answered(lambda p, t: p[torch.arange(len(t)), t]), "needs the answers"),
    "margin": (answered(margin), "the margin"),
    "entropy": (answered(entropy), "the entropy"),
    "unsorted": (answered(lambda p, t: -torch.arange(len(t))), "as they come"),
    "of all": (of_all, "divide by all texts"),
    "rounded down": (answered(largest, lambda n, c: int(n * c)), "rounded down"),
    "threshold": (above, "no threshold"),
    "everything": (answered(largest, lambda n, c: n), "accuracy on all texts"),
}


def measured(combine):
    """combine(means, sizes, K) of all batches -> the loss."""

    def answer(batches):
        means = torch.stack([F.cross_entropy(x, y) for x, y in batches])
        sizes = torch.tensor([len(y) for _, y in batches])
        return combine(means, sizes, batches[0][0].shape[1])

    return answer


MEASURED = {
    "as it was": (measured(lambda m, s, k: m.sum() / s.sum()), "far too small"),
    "mean of means": (measured(lambda m, s, k: m.mean()), "counts as much as a full one"),
    "sum": (measured(lambda m, s, k: (m * s).sum()), "This is a sum|this is a sum"),
    "sum of means": (measured(lambda m, s, k: m.sum()), "sum of the batch means"),
    "like the first": (
        measured(lambda m, s, k: (m * s[0]).sum() / s.sum()),
        "as large as the first",
    ),
    "without the last": (
        measured(lambda m, s, k: (m * s)[:-1].sum() / s[:-1].sum()),
        "left out",
    ),
    "by logits": (measured(lambda m, s, k: (m * s).sum() / (s.sum() * k)), "number of logits"),
    "by batches": (measured(lambda m, s, k: (m * s).sum() / len(m)), "number of batches"),
}

CASES = [
    pytest.param(name, *case, id=f"{name} {title}")
    for name, cases in (("15.1", PERTURBATION), ("15.2", ANSWERED), ("15.3", MEASURED))
    for title, case in cases.items()
]


@pytest.mark.parametrize("exercise, answer, words", CASES)
def test_wrong_answer_is_refused_with_the_hint_that_fits(exercise, answer, words):
    verdict = check(exercise, answer)
    assert not verdict.passed
    assert re.search(words, verdict.message), verdict.message


@pytest.mark.parametrize(
    "exercise, answer",
    [
        ("15.1", perturbation(lambda w, n, g, e: e * w / n)),
        ("15.2", answered(largest)),
        ("15.2", lambda p, t, c: answered(largest)(p, t, c).item()),
        ("15.3", measured(lambda m, s, k: (m * s).sum() / s.sum())),
        ("15.3", lambda b: F.cross_entropy(*(torch.cat(part) for part in zip(*b, strict=True)))),
    ],
)
def test_right_answers_in_another_form_pass(exercise, answer):
    verdict = check(exercise, answer)
    assert verdict.passed, verdict.message
