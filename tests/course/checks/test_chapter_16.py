"""Wrong answers to the exercises of chapter 16: each is refused, with the hint that fits it."""

import torch
import torch.nn.functional as F

from moe_course.checks.chapter_16 import CHECKS
from moe_course.checks.exercises import run_check
from moe_course.checks.verdicts import NOT_ATTEMPTED
from moe_lib.model.experts import swiglu
from tests.course.checks.wrong_answers import cases, refused


def reap(
    term=lambda output, weight: weight * output.norm(dim=-1),
    mean=lambda terms, weight, tokens: terms.sum() / max(1, len(terms)),
    everybody=False,
):
    def answer(x, gate_up, down, experts, weights):
        scores = []
        for e in range(len(gate_up)):
            token, rank = torch.where(experts == e)
            if everybody:
                token, weight = torch.arange(len(x)), torch.ones(len(x))
            else:
                weight = weights[token, rank]
            output = swiglu(x[token], gate_up[e], down[e])
            scores.append(mean(term(output, weight), weight, len(x)))
        return torch.stack(scores)

    return answer


def norm_of_the_sum(x, gate_up, down, experts, weights):
    scores = []
    for e in range(len(gate_up)):
        token, rank = torch.where(experts == e)
        output = weights[token, rank, None] * swiglu(x[token], gate_up[e], down[e])
        scores.append(output.sum(0).norm() / max(1, len(token)))
    return torch.stack(scores)


REAP = {
    "sums": (reap(mean=lambda t, w, n: t.sum()), "these are sums"),
    "mean over all": (reap(mean=lambda t, w, n: t.sum() / n), "mean is over all tokens"),
    "no weights": (reap(lambda o, w: o.norm(dim=-1)), "the weights do not"),
    "no norms": (reap(lambda o, w: w), "norms of the outputs do not"),
    "gate mass": (reap(lambda o, w: w, lambda t, w, n: t.sum()), "gate masses"),
    "usage": (reap(lambda o, w: 1 + 0 * w, lambda t, w, n: t.sum()), "usages"),
    "squares": (reap(lambda o, w: w * o.square().sum(-1)), "squared"),
    "L1": (reap(lambda o, w: w * o.abs().sum(-1)), r"another norm \(L1\)"),
    "norm of the sum": (norm_of_the_sum, "else outputs cancel"),
    "everybody": (reap(everybody=True), "only those that chose it"),
    "over the weights": (
        reap(mean=lambda t, w, n: t.sum() / w.sum().clamp(min=1e-9)),
        "divided by the sum of the weights",
    ),
    "0 / 0": (reap(mean=lambda t, w, n: t.mean()), "chosen by no token"),
}


def pack(order=(0, 1, 2), worth=1, width=8, dtype=torch.uint8):
    def answer(numbers):
        stream = torch.stack([(numbers >> bit) & 1 for bit in order], dim=1).flatten()
        worths = (2 ** torch.arange(width))[::worth] if worth > 0 else 2 ** torch.arange(7, -1, -1)
        return (stream.view(-1, width) * worths).sum(1).to(dtype)

    return answer


def without_crossing(numbers):
    found = torch.zeros(3 * len(numbers) // 8, dtype=torch.int64)
    for place, number in enumerate(numbers.tolist()):
        found[3 * place // 8] |= (number << (3 * place % 8)) & 255
    return found.to(torch.uint8)


def in_pairs(numbers):
    return numbers[0::2] | numbers[1::2] << 4


PACK = {
    "nothing": (lambda numbers: numbers, "nothing is packed"),
    "in four bits": (in_pairs, "four bits each"),
    "single bits": (pack(width=1), "these are bits"),
    "numbers reversed inside": (pack((2, 1, 0)), "bits of each number stand in reversed order"),
    "highest first": (pack((2, 1, 0), worth=-1), "stands in the highest bits"),
    "bytes turned round": (
        lambda numbers: pack()(numbers).view(-1, 3).flip(1).flatten(),
        "the last comes first",
    ),
    "no crossing": (without_crossing, "beyond the end of a byte are lost"),
    "groups reversed": (
        lambda numbers: pack()(numbers.view(-1, 8).flip(1).flatten()),
        "numbers of a group of eight are in reversed order",
    ),
    "bits turned round": (pack(worth=-1), "the other way round in every byte"),
    "of 64 bits": (pack(dtype=torch.int64), "dtype torch.int64"),
    "one byte less": (lambda numbers: pack()(numbers)[:-1], "a byte is missing"),
}


def positive(x):
    return x.clamp(min=0)


def guessed(accepted=lambda p, q: torch.minimum(p, q).sum(), left=lambda p, q: positive(p - q)):
    def answer(p, q):
        rest = left(p, q)
        total = rest.sum()
        return accepted(p, q), rest / total if total > 0 else p

    return answer


def unnormalised(p, q):
    return torch.minimum(p, q).sum(), positive(p - q)


def divided(p, q):
    return torch.minimum(p, q).sum(), positive(p - q) / positive(p - q).sum()


ACCEPTANCE = {
    "agreement": (guessed(lambda p, q: (p * q).sum()), "two draws agree"),
    "plain mean": (
        guessed(lambda p, q: (p / q.clamp(min=1e-12)).clamp(max=1).mul(q > 0).mean()),
        "averaged alike",
    ),
    "weighed by p": (
        guessed(lambda p, q: (p * (p / q.clamp(min=1e-12)).clamp(max=1) * (q > 0)).sum()),
        "weighs min",
    ),
    "refused": (guessed(lambda p, q: 1 - torch.minimum(p, q).sum()), "is refused"),
    "larger": (guessed(lambda p, q: torch.maximum(p, q).sum()), "want the smaller"),
    "turned": (guessed(lambda p, q: (q * (q / p).clamp(max=1)).sum()), "turned round"),
    "not normalised": (unnormalised, "divide by the sum"),
    "p": (guessed(left=lambda p, q: p), "this is p itself"),
    "q": (guessed(left=lambda p, q: q), "this is q"),
    "absolute": (guessed(left=lambda p, q: (p - q).abs()), "count as positive"),
    "too much": (guessed(left=lambda p, q: positive(q - p)), "has too much of"),
    "softmax": (guessed(left=lambda p, q: (p - q).softmax(0)), "softmax"),
    "kept": (guessed(left=lambda p, q: torch.minimum(p, q)), "what was kept already"),
    "negative": (lambda p, q: (torch.minimum(p, q).sum(), p - q), "negative chances"),
    "0 / 0": (divided, "nothing is missing"),
    "one thing": (lambda p, q: torch.minimum(p, q).sum(), "returns two things"),
}


def drawn(chances, v):
    return int((chances.cumsum(0) / chances.sum() <= v).sum().clamp(max=len(chances) - 1))


def step(left=lambda p, q: positive(p - q), keep=lambda p, q, g, u: u < p[g] / q[g], draw=drawn):
    def answer(p, q, guess, u, v):
        return guess if keep(p, q, guess, u) else draw(left(p, q), v)

    return answer


NEXT = {
    "the broken code": (step(left=lambda p, q: p), "gets a second chance"),
    "always kept": (step(keep=lambda p, q, g, u: True), "every guess is kept"),
    "turned round": (step(keep=lambda p, q, g, u: u < q[g] / p[g]), r"min\(1, q/p\)"),
    "absolute": (step(left=lambda p, q: (p - q).abs()), r"\|p − q\|"),
    "too much": (step(left=lambda p, q: positive(q - p)), "too much of"),
    "from the draft": (step(left=lambda p, q: q), "a draw from q"),
    "only where p is larger": (step(keep=lambda p, q, g, u: p[g] >= q[g]), "only if p is larger"),
    "likeliest": (step(draw=lambda chances, v: int(chances.argmax())), "always replaced"),
    "no draft at all": (
        step(left=lambda p, q: p, keep=lambda *_: False),
        "the draft saves nothing",
    ),
}


@cases(REAP)
def test_wrong_scores_are_refused_with_their_hint(answer, hint):
    refused("16.1", answer, hint)


@cases(PACK)
def test_wrong_packing_is_refused_with_its_hint(answer, hint):
    refused("16.2", answer, hint)


@cases(ACCEPTANCE)
def test_wrong_acceptance_and_residual_are_refused_with_their_hint(answer, hint):
    refused("16.4", answer, hint)


@cases(NEXT)
def test_wrong_steps_are_refused_with_their_hint(answer, hint):
    refused("16.3", answer, hint)


def reap_at_once(x, gate_up, down, experts, weights):
    given = F.one_hot(experts, len(gate_up)) * weights[..., None]  # (tokens, k, E)
    outputs = torch.stack([swiglu(x, a, b) for a, b in zip(gate_up, down, strict=True)], 1)
    return (given.sum(1) * outputs.norm(dim=-1)).sum(0) / (given > 0).sum((0, 1)).clamp(min=1)


def pack_by_whole_numbers(numbers):
    rows = numbers.view(-1, 8).tolist()
    whole = [sum(n << 3 * place for place, n in enumerate(row)) for row in rows]
    return torch.tensor([b for w in whole for b in w.to_bytes(3, "little")], dtype=torch.uint8)


def other_residual(p, q):
    kept = torch.minimum(p, q)
    rest = p - kept
    return float(kept.sum()), rest / rest.sum() if rest.sum() > 1e-12 else p


def test_right_answers_of_several_styles_pass_and_no_answer_is_none():
    for exercise, answer in (
        ("16.1", reap()),
        ("16.1", reap_at_once),
        ("16.2", pack()),
        ("16.2", pack_by_whole_numbers),
        ("16.4", guessed()),
        ("16.4", other_residual),
        ("16.3", step()),
    ):
        torch.manual_seed(0)
        verdict = run_check(exercise, CHECKS[exercise], answer)
        assert verdict.passed, (exercise, verdict.message)
        nothing = run_check(exercise, CHECKS[exercise], lambda *arguments: None)
        assert nothing.status == NOT_ATTEMPTED
