"""Checks of the exercises of chapter 16, inference."""

import torch

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_finite,
    expect_shape,
    expect_true,
)
from moe_lib.compression.bit_packing import pack_bits
from moe_lib.compression.speculation import residual
from moe_lib.model.experts import swiglu

STEPS = 1000  # of a uniform draw, when all of them are tried


def check_reap(reap):
    tokens, d, width, n_experts, k = 30, 6, 4, 5, 2
    x = torch.randn(tokens, d)
    gate_up, down = torch.randn(n_experts, 2 * width, d), torch.randn(n_experts, d, width)
    scores = torch.randn(tokens, n_experts).softmax(-1)
    scores[:, 3] = 0  # an expert that nobody chooses
    scores[:, 1] *= 3  # and one that nearly everybody does
    weights, experts = scores.topk(k)
    answer = expect_answer(reap(x, gate_up, down, experts, weights), "reap's answer")
    expect_shape(answer, (n_experts,), "reap's answer")
    expect_finite(answer, "reap's answer (expert 3 is chosen by no token: its score is 0)")
    chosen = torch.zeros(tokens, n_experts).scatter(1, experts, 1.0)
    given = torch.zeros(tokens, n_experts).scatter(1, experts, weights)
    outputs = torch.stack([swiglu(x, *two) for two in zip(gate_up, down, strict=True)], dim=1)
    norms, usage = outputs.norm(dim=-1), chosen.sum(0).clamp(min=1)  # (tokens, E), (E,)
    hints = {
        "these are sums. REAP is a mean over the tokens that chose the expert, so that a popular "
        "expert is not good for that alone": (given * norms).sum(0),
        "the mean is over all tokens. Want it over those that chose the expert": (
            given * norms
        ).mean(0),
        "the norms count, the weights do not": (chosen * norms).sum(0) / usage,
        "the weights count, the norms of the outputs do not": given.sum(0) / usage,
        "these are the gate masses, sums of weights": given.sum(0),
        "these are usages, without weights and norms": chosen.sum(0),
        "the norms are squared": (given * norms**2).sum(0) / usage,
        "the norm is of the summed (or mean) output: first the norm of every token, then the mean, "
        "else outputs cancel": (given[..., None] * outputs).sum(0).norm(dim=-1) / usage,
        "the sum of absolute numbers is another norm (L1); want the square root of the sum of "
        "squares": (given * outputs.abs().sum(-1)).sum(0) / usage,
        "all tokens run through the expert here; want only those that chose it": norms.mean(0),
        "the weighted norms are divided by the sum of the weights": (given * norms).sum(0)
        / given.sum(0).clamp(min=1e-9),
    }
    expect_close(answer, (given * norms).sum(0) / usage, "reap's answer", hints=hints)
    return "A weight says how much is asked, a norm how much is answered; REAP takes the product."


def _bytes_by(numbers: torch.Tensor, order: list[tuple[int, int]]) -> torch.Tensor:
    """Packed by hand: order lists (number, bit) for every bit of each group of eight, lowest
    first."""
    stream = torch.stack([(numbers.view(-1, 8)[:, n] >> bit) & 1 for n, bit in order], dim=1)
    worth = 2 ** torch.arange(8)
    return (stream.view(-1, 8) * worth).sum(1).to(torch.uint8)


def check_pack3(pack3):
    for n in (8, 40):
        numbers = torch.randint(0, 8, (n,), dtype=torch.uint8)
        numbers[:8] = torch.tensor([1, 2, 7, 4, 6, 3, 5, 6])
        answer = expect_answer(pack3(numbers.clone()), "pack3's answer")
        what = f"pack3 of {n} numbers"
        expect_true(
            isinstance(answer, torch.Tensor) and answer.dim() == 1,
            f"{what}: want a tensor of one dimension, the bytes.",
        )
        sizes = {
            n: "every number has a byte of its own: nothing is packed",
            n // 2: "two numbers share a byte, four bits each. Three bits are enough: eight "
            "numbers in three bytes",
            3 * n: "these are bits, one in each byte: eight of them make one",
            3 * n // 8 - 1: "a byte is missing",
        }
        wrong = sizes.get(len(answer))
        expect_true(
            len(answer) == 3 * n // 8 or wrong is None,
            f"{what}: {len(answer)} bytes; want {3 * n // 8}. Here {wrong}.",
        )
        expect_shape(answer, (3 * n // 8,), what)
        right = pack_bits(numbers, 3)
        forwards = [(one, bit) for one in range(8) for bit in (2, 1, 0)]
        hints = {
            "the bits of each number stand in reversed order": _bytes_by(numbers, forwards),
            "the first number stands in the highest bits; want it in the lowest": _high_first(
                numbers
            ),
            "in every three bytes the last comes first": right.view(-1, 3).flip(1),
            "bits that reach beyond the end of a byte are lost: 3 does not divide 8, so the third "
            "and the sixth number lie in two bytes": _without_crossing(numbers),
            "the numbers of a group of eight are in reversed order": pack_bits(
                numbers.view(-1, 8).flip(1).flatten(), 3
            ),
            "bits lie the other way round in every byte": _reversed_bits(right),
        }
        hints = {text: wrong.flatten().tolist() for text, wrong in hints.items()}
        expect_equal(answer.tolist(), right.tolist(), what, hints=hints)
        expect_dtype(answer, torch.uint8, what)
    return "Eight numbers, three bytes, and not a bit between them."


def _high_first(numbers: torch.Tensor) -> torch.Tensor:
    """As a text of bits is read: the first number highest, the first byte first."""
    bits = torch.stack([(numbers >> bit) & 1 for bit in (2, 1, 0)], dim=1).view(-1, 8)
    return (bits * 2 ** torch.arange(7, -1, -1)).sum(1).to(torch.uint8)


def _reversed_bits(packed: torch.Tensor) -> torch.Tensor:
    bits = torch.stack([(packed >> bit) & 1 for bit in range(8)], dim=1).flip(1)
    return (bits * 2 ** torch.arange(8)).sum(1).to(torch.uint8)


def _without_crossing(numbers: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(len(numbers) // 8, 3, dtype=torch.int64)
    for place in range(8):
        start = 3 * place
        part = (numbers.view(-1, 8)[:, place].long() << (start % 8)) & 255
        found[:, start // 8] |= part
    return found.to(torch.uint8)


def _pairs(vocab: int = 6):
    """p, q: apart, overlapping in part, nearly equal."""
    p, q = torch.rand(vocab).double().softmax(0), (3 * torch.rand(vocab)).double().softmax(0)
    hole = q.clone()
    hole[0] = 0  # the draft never guesses token 0
    return [(p, q), (q, p), (p, hole / hole.sum()), (0.9 * p + 0.1 * q, p)]


def check_acceptance(after_one_guess):
    for p, q in _pairs():
        answer = expect_answer(after_one_guess(p.clone(), q.clone()), "after_one_guess's answer")
        expect_true(
            isinstance(answer, tuple) and len(answer) == 2,
            "after_one_guess returns two things: the acceptance, and the residual distribution.",
        )
        acceptance, left = (torch.as_tensor(part, dtype=torch.double) for part in answer)
        expect_shape(acceptance, (), "the acceptance")
        expect_shape(left, (len(p),), "the residual")
        ratio = (p / q).nan_to_num(0, posinf=0).clamp(max=1)
        expect_close(
            acceptance,
            torch.minimum(p, q).sum(),
            "the acceptance",
            hints={
                "p · q is the chance that two draws agree. A guess may be kept without that": (
                    p * q
                ).sum(),
                "the chances min(1, p/q) are averaged alike over all tokens; a token is guessed "
                "with chance q": ratio.mean(),
                "this weighs min(1, p/q) by p; the guess is drawn from q": (p * ratio).sum(),
                "this is the chance that the guess is refused": 1 - torch.minimum(p, q).sum(),
                "the larger of p and q is taken; want the smaller": torch.maximum(p, q).sum(),
                "the ratio is turned round: min(1, q/p)": (q * (q / p).clamp(max=1)).sum(),
                "these are the chances of the single tokens, not their sum": torch.minimum(
                    p, q
                ).mean(),
            },
        )
        more, less = (p - q).clamp(min=0), (q - p).clamp(min=0)
        expect_close(
            left,
            more / more.sum(),
            "the residual",
            hints={
                "it does not sum to 1: divide by the sum": more,
                "this is p itself. Tokens that the draft guesses often have had their chance "
                "already": p,
                "p − q has negative chances: what is below 0 counts as 0": p - q,
                "negative differences count as positive ones; they count as 0": (p - q).abs()
                / (p - q).abs().sum(),
                "this is what the draft has too much of, max(q − p, 0)": less / less.sum(),
                "this is q": q,
                "the differences went through a softmax; divide by their sum": (p - q).softmax(0),
                "the smaller of the two is what was kept already; want what is missing": (
                    torch.minimum(p, q) / torch.minimum(p, q).sum()
                ),
            },
        )
    same = torch.full((4,), 0.25).double()
    acceptance, left = after_one_guess(same, same.clone())
    expect_close(torch.as_tensor(acceptance).double(), torch.ones(()).double(), "with p = q")
    left = torch.as_tensor(left)
    expect_finite(
        left, "the residual with p = q (nothing is missing; any distribution will do, say p)"
    )
    return "What is kept and what is drawn afresh add up to p, whatever the draft."


def _tried(next_token, p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The distribution of a step's token, over all guesses and draws; and the share of guesses that
    were kept."""
    found, kept = torch.zeros_like(p), 0.0
    draws = [(i + 0.5) / STEPS for i in range(STEPS)]
    for guess in range(len(p)):
        if q[guess] == 0:
            continue
        for place, u in enumerate(draws):
            v = draws[(place * 377 + 13 * guess) % STEPS]  # each value once, in another order
            token = expect_answer(next_token(p, q, guess, u, v), "next_token's answer")
            token = int(token)
            expect_true(0 <= token < len(p), f"next_token gave token {token} of {len(p)}.")
            found[token] += q[guess] / STEPS
            kept += float(q[guess]) / STEPS * (token == guess)
    return found, kept


def check_next_token(next_token):
    for p, q in _pairs(4)[:3]:
        found, kept = _tried(next_token, p, q)
        keep, left = torch.minimum(p, q), residual(p, q)
        missed = 1 - keep.sum()
        ratio = (p / q).nan_to_num(0, posinf=0)
        turned = q * (q / p).clamp(max=1)
        differences = (p - q).abs() / (p - q).abs().sum()
        hints = {
            "tokens that the draft guesses often still come too often: a refused guess is replaced "
            "by a draw from p, and so gets a second chance. What must it be drawn from?": keep
            + missed * p,
            "the token follows the draft's q: every guess is kept, or a refused one is replaced by "
            "what the draft has too much of, max(q − p, 0)": q,
            "the guess is kept where it should be refused: with the chance min(1, q/p)": turned
            + (1 - turned.sum()) * left,
            "a refused guess is replaced by a draw from |p − q|": keep + missed * differences,
            "a refused guess is replaced by a draw from q": keep + missed * q,
            "a guess is kept only if p is larger than q there; want the chance p/q where it is "
            "not": q * (ratio >= 1) + (q * (ratio < 1)).sum() * left,
            "a refused guess is always replaced by the same token, the likeliest one": keep
            + missed * torch.nn.functional.one_hot(left.argmax(), len(p)),
        }
        near = dict(atol=0.02, rtol=0.0)
        expect_close(found, p, "the chances of the token", hints=hints, **near)
        expect_true(
            kept > float(keep.sum()) - 0.02,
            f"The chances are right: they are p. But of the guesses only {kept:.0%} come out, and "
            f"{float(keep.sum()):.0%} could be kept: then the draft saves nothing.",
        )
    return "Kept guesses and fresh draws add up to p: the draft changes the speed and nothing else."


CHECKS = {
    "16.1": check_reap,
    "16.2": check_pack3,
    "16.3": check_next_token,
    "16.4": check_acceptance,
}
