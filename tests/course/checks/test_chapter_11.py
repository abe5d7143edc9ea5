"""Wrong answers to the exercises of chapter 11: each is refused, with the hint that fits it."""

import math

import pytest
import torch
import torch.nn.functional as F

from moe_course import check


def shares(
    experts,
    real,
    domain_of,
    n_domains,
    n_experts,
    *,
    choices=True,
    tokens=True,
    by="tokens",
    first=False,
):
    """A domain's shares; `choices` and `tokens`: leave padding out there?"""
    k = 1 if first else experts.shape[-1]
    taken = F.one_hot(experts[..., :k], n_experts).sum(2).double()  # (texts, length, E)
    taken = taken * real[..., None] if choices else taken
    of = F.one_hot(domain_of, n_domains).double().T  # (domains, texts)
    counts = of @ taken.sum(1)
    length = (real.sum(1) if tokens else torch.full(real.shape[:1], real.shape[1])).double()
    divide = {
        "tokens": (of @ length)[:, None],
        "choices": (of @ length)[:, None] * k,
        "experts": counts.sum(0, keepdim=True).clamp(min=1),
        "nothing": 1.0,
        "all": length.sum(),
    }[by]
    return (counts / divide).float()


def made(**options):
    return lambda *arguments: shares(*arguments, **options)


TABLES = {
    "padding counts": (made(choices=False, tokens=False), "padding is counted, above and below"),
    "padding below": (made(tokens=False), "though its choices are not"),
    "padding above": (made(choices=False), "the choices of padding are counted"),
    "by the expert": (made(by="experts"), "column sums to 1"),
    "by the choices": (made(by="choices"), "each row sums to 1"),
    "counts": (made(by="nothing"), "these are counts"),
    "first choice": (made(first=True), "only the first choice"),
    "transposed": (lambda *a: shares(*a).T, "want"),
    "used experts only": (lambda *a: shares(*a)[:, :-1], "want"),
    "of all tokens": (made(by="all"), "differs"),
    "a list": (lambda *a: shares(*a).tolist(), "a list; want a torch.Tensor"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table_is_refused_with_its_hint(name):
    answer, words = TABLES[name]
    verdict = check("11.1", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_the_right_table_passes():
    assert check("11.1", shares).passed


def joint(a, b):
    columns = int(b.max()) + 1
    rows = int(a.max()) + 1
    return torch.bincount(a * columns + b, minlength=rows * columns).view(rows, columns).double()


def information(a, b, log=torch.log2, sign=1, pseudo=0.0, divide=True, alone=True):
    p = joint(a, b)
    p = (p + pseudo) / (p + pseudo).sum() if divide else p
    product = p.sum(1, keepdim=True) * p.sum(0, keepdim=True) if alone else torch.ones_like(p)
    there = p > 0
    return sign * (p[there] * log(p[there] / product[there])).sum()


def with_zeros(a, b):
    p = joint(a, b) / len(a)
    return (p * (p / (p.sum(1, keepdim=True) * p.sum(0, keepdim=True))).log2()).sum()


def entropy(labels):
    p = torch.bincount(labels).double() / len(labels)
    return -(p[p > 0] * p[p > 0].log2()).sum()


def short_code(a, b):
    return entropy(a) + entropy(b) - entropy(a * int(b.max()) + b)


def conditional(a, b):
    return entropy(a) - information(a, b)


BITS = {
    "nats": (lambda a, b: information(a, b, log=torch.log), "these are nats"),
    "0 log 0": (with_zeros, "Leave out the cells"),
    "other sign": (lambda a, b: information(a, b, sign=-1), "the wrong way round"),
    "entropy of a": (lambda a, b: entropy(a), "the entropy of a"),
    "entropy of the pair": (
        lambda a, b: -information(a, b, alone=False),
        "the entropy of the pair",
    ),
    "one column short": (short_code, "different pairs share one number"),
    "what is left": (conditional, "want"),
    "no chance level": (lambda a, b: information(a, b) - 0.1, "want"),
    "a table": (lambda a, b: joint(a, b) / len(a), "has shape"),
    "smoothed": (lambda a, b: information(a, b, pseudo=0.5), "want"),
}


@pytest.mark.parametrize("name", BITS)
def test_wrong_bits_are_refused_with_their_hint(name):
    answer, words = BITS[name]
    verdict = check("11.2", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


@pytest.mark.parametrize("kind", [float, torch.as_tensor])
def test_the_right_bits_pass(kind):
    assert check("11.2", lambda a, b: kind(information(a, b))).passed


def common(then, final):
    return (then[:, :, None] == final[:, None, :]).any(-1).float()


OVERLAPS = {
    "place by place": (lambda t, f: (t == f).float().mean(), "place by place. The first"),
    "whole sets": (lambda t, f: common(t, f).all(1).float().mean(), "whole set is the same"),
    "any expert": (lambda t, f: common(t, f).any(1).float().mean(), "counts fully"),
    "a number of experts": (lambda t, f: common(t, f).sum(1).mean(), "Divide by k"),
    "sorted": (
        lambda t, f: (t.sort(-1).values == f.sort(-1).values).float().mean(),
        "sorting and comparing",
    ),
    "over the union": (
        lambda t, f: (common(t, f).sum(1) / (2 * t.shape[1] - common(t, f).sum(1))).mean(),
        "intersection over union",
    ),
    "over the table": (
        lambda t, f: (t[:, :, None] == f[:, None, :]).float().mean(),
        "divided by k twice",
    ),
    "a value per token": (lambda t, f: common(t, f).mean(1), "has shape"),
    "one set of all": (
        lambda t, f: len(set(t.flatten().tolist()) & set(f.flatten().tolist())) / t.numel(),
        "want",
    ),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_a_wrong_overlap_is_refused_with_its_hint(name):
    answer, words = OVERLAPS[name]
    verdict = check("11.3", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_the_right_overlap_passes():
    assert check("11.3", lambda t, f: common(t, f).mean().item()).passed


def read(logits, scoring, bias, k, *, chosen_by=None, weighed=None, norm=True, order=None):
    """The experts by one set of scores, their weights by another."""
    scores = logits.softmax(-1) if scoring == "softmax" else logits.sigmoid()
    by = scores + bias if chosen_by is None else chosen_by(logits, scores, bias)
    experts = by.topk(k).indices
    if order is not None:
        experts = order(experts)
    weights = (scores if weighed is None else weighed(logits, scores, bias)).gather(1, experts)
    return experts, weights / weights.sum(-1, keepdim=True) if norm else weights


def reads(**options):
    return lambda *arguments: read(*arguments, **options)


def in_place(logits, scoring, bias, k):
    found = read(logits, scoring, bias, k)
    logits += 1
    return found


READERS = {
    "softmax for all": (
        reads(chosen_by=lambda x, s, b: x.softmax(-1) + b),
        "the experts of softmax plus bias",
    ),
    "no bias": (reads(chosen_by=lambda x, s, b: s), "the experts without the bias"),
    "bias on the logits": (reads(chosen_by=lambda x, s, b: x + b), "added to the logits"),
    "bias in the weights": (reads(weighed=lambda x, s, b: s + b), "The bias is in".lower()),
    "not divided": (reads(norm=False), "not divided by the sum"),
    "softmax of the chosen": (reads(weighed=lambda x, s, b: x.exp()), "the weights"),
    "sorted by number": (reads(order=lambda e: e.sort(-1).values), "the experts is"),
    "least first": (reads(order=lambda e: e.flip(-1)), "the experts is"),
    "changes the logits": (in_place, "changes the logits"),
    "experts alone": (lambda *a: read(*a)[0], "return experts and weights"),
    "scores of all": (
        lambda x, scoring, b, k: (read(x, scoring, b, k)[0], x.softmax(-1)),
        "weights has shape",
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_wrong_reader_is_refused_with_its_hint(name):
    answer, words = READERS[name]
    verdict = check("11.4", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_the_right_reader_passes():
    assert check("11.4", read).passed
    assert math.isclose(float(entropy(torch.arange(4))), 2.0)  # the tests' own measure
