"""Wrong answers to the exercises of chapter 14: each is refused, with the hint that fits it."""

import re

import pytest
import torch
from torch import nn

from moe_course import check


def lora(combine, change=lambda x, A, B: x @ A.T @ B.T):
    """combine(base, change, alpha, A) -> the output."""
    return lambda x, W, A, B, alpha: combine(x @ W.T, change(x, A, B), alpha, A)


def scaled(base, change, alpha, A):
    return base + alpha / len(A) * change


LORA = {
    "no factor": (lora(lambda y, c, a, A: y + c), "factor is missing"),
    "alpha alone": (lora(lambda y, c, a, A: y + a * c), "Divide it by r"),
    "one over r": (lora(lambda y, c, a, A: y + c / len(A)), "alpha is missing"),
    "r over alpha": (lora(lambda y, c, a, A: y + len(A) / a * c), "other way round"),
    "factor on all": (lora(lambda y, c, a, A: a / len(A) * (y + c)), "on all of it"),
    "no base": (lora(lambda y, c, a, A: a / len(A) * c), "base's own output is missing"),
    "root of r": (lora(lambda y, c, a, A: y + a / len(A) ** 0.5 * c), "√r"),
    "width for r": (lora(lambda y, c, a, A: y + a / A.shape[1] * c), "columns of A"),
    "minus": (lora(lambda y, c, a, A: y - a / len(A) * c), "taken off"),
    "BA made": (lora(scaled, lambda x, A, B: x @ (B @ A).T), "as large as W"),
    "merged": (
        lambda x, W, A, B, alpha: x @ (W + alpha / len(A) * B @ A).T,
        "as large as W",
    ),
    "BA by einsum": (
        lora(scaled, lambda x, A, B: x @ torch.einsum("or,ri->io", B, A)),
        "as large as W",
    ),
    "transposed": (lambda x, W, A, B, alpha: (x @ W.T).T, "transpose"),
}


class Repaired(nn.Module):
    """The right layer; each wrong one changes a method of it."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scale, self.merged = linear, alpha / rank, False
        self.freeze()
        self.A = nn.Parameter(0.1 * torch.randn(rank, linear.in_features))
        self.B = nn.Parameter(self.start(linear.out_features, rank))

    def freeze(self):
        self.linear.requires_grad_(False)

    def start(self, *shape):
        return torch.zeros(*shape)

    def change(self, x):
        return self.scale * (x @ self.A.T @ self.B.T)

    def forward(self, x):
        return self.linear(x) if self.merged else self.linear(x) + self.change(x)

    def add(self):
        with torch.no_grad():
            self.linear.weight += self.scale * self.B @ self.A

    def merge(self):
        if not self.merged:
            self.add()
        self.merged = True


class RandomStart(Repaired):
    def start(self, *shape):
        return 0.1 * torch.randn(*shape)


class BothZero(Repaired):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        nn.init.zeros_(self.A)


class NothingFrozen(Repaired):
    def freeze(self):
        pass


class WeightFrozen(Repaired):
    def freeze(self):
        self.linear.weight.requires_grad_(False)


class AllFrozen(Repaired):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        self.requires_grad_(False)


class OnlyB(Repaired):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        self.A.requires_grad_(False)


class CountedTwice(Repaired):
    def forward(self, x):
        return self.linear(x) + self.change(x)


class MergeAgain(Repaired):
    def merge(self):
        self.add()
        self.merged = True


class Toggles(Repaired):
    def merge(self):
        if self.merged:
            with torch.no_grad():
                self.linear.weight -= self.scale * self.B @ self.A
        else:
            self.add()
        self.merged = True


class FlagAlone(Repaired):
    def add(self):
        pass


class NoFactor(Repaired):
    def add(self):
        with torch.no_grad():
            self.linear.weight += self.B @ self.A


class NeverMerges(Repaired):
    def merge(self):
        pass


class BiasLost(Repaired):
    def forward(self, x):
        output = x @ self.linear.weight.T
        return output if self.merged else output + self.change(x)


class NoChange(Repaired):
    def forward(self, x):
        return self.linear(x)


BROKEN = {
    "starts at random": (RandomStart, "first bug is still there"),
    "both zero": (BothZero, "nothing is ever learned"),
    "nothing frozen": (NothingFrozen, "linear.weight. Only A and B may"),
    "bias not frozen": (WeightFrozen, "the bias still moves"),
    "all frozen": (AllFrozen, "A and B both have to"),
    "A frozen": (OnlyB, "A and B both have to"),
    "counted twice": (CountedTwice, "forward adds it once more"),
    "merges again": (MergeAgain, "second merge\\(\\) adds the change again"),
    "a switch": (Toggles, "second merge\\(\\) takes the change out"),
    "the flag alone": (FlagAlone, "merge\\(\\) did nothing"),
    "no factor": (NoFactor, "forgot the factor"),
    "merge does nothing": (NeverMerges, "did not add the change to the weight"),
    "bias lost": (BiasLost, "bias is lost"),
    "no change": (NoChange, "no longer adds the change"),
}


def chosen(rule):
    """rule(shares of a layer, sorted, their order, p) -> experts, with each layer's own shares."""

    def choose_experts(scores, p):
        rows = (scores / scores.sum(1, keepdim=True)).sort(dim=1, descending=True)
        return [rule(held, order, p) for held, order in zip(*rows, strict=True)]

    return choose_experts


def count(held, p, more=0):
    return int((held.cumsum(0) < p - 1e-6).sum()) + 1 + more


def from_shares(shares, p):
    rows = shares.sort(dim=1, descending=True)
    return [order[: count(held, p)].tolist() for held, order in zip(*rows, strict=True)]


def pooled(scores, p):
    experts = from_shares(scores.flatten()[None] / scores.sum(), p)[0]
    n = scores.shape[1]
    return [[e - n * layer for e in experts if e // n == layer] for layer in range(len(scores))]


CHOOSE = {
    "other sum": (lambda s, p: from_shares(s / s.sum(0, keepdim=True), p), "over the layers"),
    "no division": (from_shares, "not divided by their sum"),
    "p alone": (
        lambda s, p: [
            (row >= p).nonzero().flatten().tolist() for row in s / s.sum(1, keepdim=True)
        ],
        "It is their sum",
    ),
    "one missing": (chosen(lambda h, o, p: o[: count(h, p, -1)].tolist()), "one expert.*missing"),
    "one too many": (chosen(lambda h, o, p: o[: count(h, p, 1)].tolist()), "too many"),
    "with <=": (
        chosen(lambda h, o, p: o[: int((h.cumsum(0) <= p).sum()) + 1].tolist()),
        "At least p is enough",
    ),
    "ranks": (chosen(lambda h, o, p: list(range(count(h, p)))), "places in the sorted row"),
    "a share of the experts": (
        chosen(lambda h, o, p: o[: max(1, round(p * len(h)))].tolist()),
        "a share p of the experts",
    ),
    "ascending": (
        lambda s, p: [
            row.argsort()[: int((row.sort().values.cumsum(0) < p - 1e-6).sum()) + 1].tolist()
            for row in s / s.sum(1, keepdim=True)
        ],
        "least relevant",
    ),
    "all layers together": (pooled, "all layers together"),
    "tensors": (chosen(lambda h, o, p: o[: count(h, p)]), "a list with one list of numbers"),
}

CASES = [
    pytest.param(name, *case, id=f"{name} {title}")
    for name, cases in (("14.1", LORA), ("14.2", BROKEN), ("14.3", CHOOSE))
    for title, case in cases.items()
]


@pytest.mark.parametrize("exercise, answer, words", CASES)
def test_wrong_answer_is_refused_with_the_hint_that_fits(exercise, answer, words):
    verdict = check(exercise, answer)
    assert not verdict.passed
    assert re.search(words, verdict.message), verdict.message


def one_by_one(scores, p):
    found = []
    for row in scores / scores.sum(1, keepdim=True):
        left, experts = row.clone(), []
        while sum(row[e] for e in experts) < p - 1e-6:
            experts.append(int(left.argmax()))
            left[experts[-1]] = -1
        found.append(experts)
    return found


@pytest.mark.parametrize(
    "exercise, answer",
    [
        ("14.1", lambda x, W, A, B, a: x @ W.T + (a / len(A) * x) @ A.T @ B.T),
        ("14.1", lambda x, W, A, B, a: nn.functional.linear(x, W) + (x @ (a / len(A) * A).T) @ B.T),
        ("14.2", Repaired),
        ("14.3", one_by_one),
        ("14.3", chosen(lambda h, o, p: o[: count(h, p)].tolist())),
    ],
)
def test_right_answers_in_another_form_pass(exercise, answer):
    verdict = check(exercise, answer)
    assert verdict.passed, verdict.message
