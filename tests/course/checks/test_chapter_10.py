"""Wrong answers to the exercises of chapter 10: each is refused, with the hint that fits it."""

import pytest
import torch

from moe_course import check


def span(curve, target, *, order=sorted, strictly=False, first=False):
    """The right answer with one step taken wrongly."""
    tokens = [0, *order(curve)]
    high = [i for i, at in enumerate(tokens) if i and curve[at] > target]
    if strictly:
        high = [i for i, at in enumerate(tokens) if i and curve[at] >= target]
    last = high[-1] if high else 0
    if first:
        last = next((i for i in range(1, len(tokens)) if curve[tokens[i]] <= target), 0) - 1
        return None if last < 0 else (tokens[last], tokens[last + 1])
    return None if last == len(tokens) - 1 else (tokens[last], tokens[last + 1])


def interpolated(curve, target):
    found = span(curve, target)
    if found is None or found[0] == 0:
        return found
    (a, b), (high, low) = found, (curve[found[0]], curve[found[1]])
    return a + (high - target) / (high - low) * (b - a)


def never_is_the_end(curve, target):
    return span(curve, target) or tuple(sorted(curve)[-2:])


def early_is_none(curve, target):
    found = span(curve, target)
    return found if found and found[0] else None


def early_is_the_first_two(curve, target):
    found = span(curve, target)
    return tuple(sorted(curve)[:2]) if found and found[0] == 0 else found


def first_low_is_reached(curve, target):
    tokens = sorted(curve)
    return (0, tokens[0]) if curve[tokens[0]] <= target else span(curve, target)


def mapped(change):
    def answer(curve, target):
        found = span(curve, target)
        return found and change(found, curve)

    return answer


SPANS = {
    "the first time": (lambda c, t: span(c, t, first=True), "goes up again later"),
    "strictly below": (lambda c, t: span(c, t, strictly=True), "equals the target"),
    "in the order given": (lambda c, t: span(c, t, order=list), "taken as they were given"),
    "between the points": (interpolated, "was not measured"),
    "never is the end": (never_is_the_end, "want None"),
    "early is None": (early_is_none, "does get there"),
    "low at first is enough": (first_low_is_reached, "starts below 3.6, rises above it"),
    "early is the first two": (early_is_the_first_two, "between 0 and that"),
    "backwards": (mapped(lambda pair, curve: pair[::-1]), "wrong way round"),
    "the losses": (
        mapped(lambda pair, curve: (curve.get(pair[0], 0.0), curve[pair[1]])),
        "these are losses",
    ),
    "places": (
        mapped(lambda pair, curve: tuple(sorted(curve).index(p) if p else -1 for p in pair)),
        "these are places",
    ),
    "the second alone": (mapped(lambda pair, curve: pair[1]), "return two numbers of tokens"),
    "above and below apart": (
        lambda c, t: (
            max(at for at in c if c[at] > t) if max(c.values()) > t else 0,
            max((at for at in c if c[at] <= t), default=None),
        ),
        "the next measurement, not the last",
    ),
}


@pytest.mark.parametrize("name", SPANS)
def test_a_wrong_span_is_refused_with_its_hint(name):
    answer, words = SPANS[name]
    verdict = check("10.1", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict
    assert "?." not in verdict.message


@pytest.mark.parametrize("kind", [tuple, list])
def test_the_right_span_passes(kind):
    assert check("10.1", mapped(lambda pair, curve: kind(pair))).passed


def slices(gate, up, down, E, m, c, *, of=None, top="gate", factor=None, both=False):
    """Experts out of a dense layer, with one choice open."""
    of = of or (lambda e: e % m)
    factor = m / c if factor is None else factor(m, c)
    gates, ups, downs = gate.chunk(m), up.chunk(m), down.chunk(m, dim=1)
    pairs = (gates, ups) if top == "gate" else (ups, gates)
    first = torch.stack([torch.cat([part[of(e)] for part in pairs]) for e in range(E)])
    return first * (factor if both else 1), torch.stack([downs[of(e)] * factor for e in range(E)])


def made(**choices):
    return lambda *arguments: slices(*arguments, **choices)


def in_blocks(gate, up, down, E, m, c):
    return slices(gate, up, down, E, m, c, of=lambda e: e * m // E)


def in_place(gate, up, down, E, m, c):
    down *= m / c
    return slices(gate, up, down, E, m, c, factor=lambda m, c: 1.0)


def rows_of_down(gate, up, down, E, m, c):
    first, _ = slices(gate, up, down, E, m, c)
    return first, torch.stack([down.T.chunk(m)[e % m] * m / c for e in range(E)])


def every_mth(gate, up, down, E, m, c):
    first = torch.stack([torch.cat((gate[e % m :: m], up[e % m :: m])) for e in range(E)])
    return first, torch.stack([down.chunk(m, dim=1)[e % m] * m / c for e in range(E)])


LAYERS = {
    "no factor": (made(factor=lambda m, c: 1.0), "the factor m / c is missing"),
    "not by c": (made(factor=lambda m, c: m), "divide by c, too"),
    "not by m": (made(factor=lambda m, c: 1 / c), "multiply by m, too"),
    "upside down": (made(factor=lambda m, c: c / m), "upside down"),
    "factor everywhere": (made(both=True), "only down should"),
    "up on top": (made(top="up"), "up stands on top"),
    "in blocks": (in_blocks, "want the slices in turn"),
    "down by rows": (rows_of_down, "down has shape"),
    "other units": (every_mth, "gate_up"),
    "in place": (in_place, "changed `down` itself"),
    "gate_up alone": (lambda *a: slices(*a)[0], "return two tensors"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_slices_are_refused_with_their_hint(name):
    answer, words = LAYERS[name]
    verdict = check("10.2", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_right_slices_pass():
    assert check("10.2", slices).passed


def weighted(count, divide=lambda counts, labels: sum(counts)):
    def answer(losses, labels):
        counts = [int(count(batch)) for batch in labels]
        total = sum(loss * n for loss, n in zip(losses, counts, strict=True))
        return total / divide(counts, labels)

    return answer


def targets(batch):
    return (batch != -100).sum()


LOSSES = {
    "by the rows": (
        lambda losses, labels: sum(losses) / sum(map(len, labels)),
        "divided by the number of rows",
    ),
    "by the tokens": (
        lambda losses, labels: sum(losses) / sum(int(targets(batch)) for batch in labels),
        "means and sums do not mix",
    ),
    "mean of means": (lambda losses, labels: sum(losses) / len(losses), "as many targets"),
    "weights: rows": (weighted(len), "weighted by their rows"),
    "weights: all tokens": (weighted(torch.numel), "labelled -100 are not predicted"),
    "token 0 left out": (weighted(lambda batch: (batch > 0).sum()), "only -100 means no target"),
    "not divided": (weighted(targets, lambda counts, labels: 1), "divide it by the number"),
    "weighted, by batches": (
        weighted(targets, lambda counts, labels: len(counts)),
        "10 batches",
    ),
    "nothing": (lambda losses, labels: losses, "10 batches"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_wrong_mean_is_refused_with_its_hint(name):
    answer, words = LOSSES[name]
    verdict = check("10.3", answer)
    assert verdict.status == "not yet" and words in verdict.message, verdict


def test_the_right_mean_passes():
    assert check("10.3", weighted(targets)).passed
