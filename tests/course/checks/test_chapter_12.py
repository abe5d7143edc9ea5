"""Wrong answers to the exercises of chapter 12: each is refused, with the hint that fits it."""

import torch
import torch.nn.functional as F

from moe_course import check
from tests.course.checks.wrong_answers import cases, refused


def logits_of(x, weight, bias):
    return x @ weight.T + bias


def by_delta(make_delta, bias_of=lambda delta: delta.sum(0)):
    """A head_gradient with another δ: make_delta(logits, one-hot, n)."""

    def head_gradient(x, weight, bias, labels):
        delta = make_delta(logits_of(x, weight, bias), F.one_hot(labels, len(bias)), len(x))
        return delta.T @ x, bias_of(delta)

    return head_gradient


RIGHT_GRADIENT = by_delta(lambda z, y, n: (z.softmax(-1) - y) / n)


def autograd(x, weight, bias, labels):
    weight.requires_grad_(), bias.requires_grad_()
    F.cross_entropy(logits_of(x, weight, bias), labels).backward()
    return weight.grad, bias.grad


def autograd_switched_on(x, weight, bias, labels):
    with torch.enable_grad():
        return autograd(x, weight, bias, labels)


def autograd_grad(x, weight, bias, labels):
    with torch.enable_grad():
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(logits_of(x, w, b), labels), (w, b))


def without_bias(x, weight, bias, labels):
    return RIGHT_GRADIENT(x, weight, torch.zeros_like(bias), labels)


def classes_seen_only(x, weight, bias, labels):
    delta = (logits_of(x, weight, bias).softmax(-1) - F.one_hot(labels)) / len(x)
    return delta.T @ x, delta.sum(0)


GRADIENT = {
    "autograd": (autograd, "autograd is not at hand"),
    "autograd switched on": (autograd_switched_on, "autograd is not at hand"),
    "torch.autograd.grad": (autograd_grad, "autograd is not at hand"),
    "no 1/n": (by_delta(lambda z, y, n: z.softmax(-1) - y), "n times too large"),
    "1/n twice": (by_delta(lambda z, y, n: (z.softmax(-1) - y) / n**2), "n times too small"),
    "mean over all entries": (
        by_delta(lambda z, y, n: (z.softmax(-1) - y) / z.numel()),
        "K times too small",
    ),
    "no one-hot": (by_delta(lambda z, y, n: z.softmax(-1) / n), "right class is not subtracted"),
    "sign": (by_delta(lambda z, y, n: (y - z.softmax(-1)) / n), "sign is the other way round"),
    "softmax over texts": (by_delta(lambda z, y, n: (z.softmax(0) - y) / n), "over the texts"),
    "no bias": (without_bias, "bias is missing"),
    "log-softmax": (by_delta(lambda z, y, n: (z.log_softmax(-1) - y) / n), "logarithms"),
    "no softmax": (by_delta(lambda z, y, n: (z - y) / n), "logits were taken for probabilities"),
    "transposed": (
        lambda *given: (RIGHT_GRADIENT(*given)[0].T, RIGHT_GRADIENT(*given)[1]),
        "did you forget a transpose",
    ),
    "bias first": (lambda *given: RIGHT_GRADIENT(*given)[::-1], "Weight, then bias"),
    "bias: a mean": (
        by_delta(lambda z, y, n: (z.softmax(-1) - y) / n, lambda delta: delta.mean(0)),
        "δ holds the 1/n already",
    ),
    "bias: no 1/n": (
        by_delta(lambda z, y, n: (z.softmax(-1) - y) / n, lambda delta: delta.sum(0) * len(delta)),
        "divide by the number of texts here, too",
    ),
    "classes seen": (classes_seen_only, "if none of the texts has the last one"),
    "δ alone": (lambda *given: RIGHT_GRADIENT(*given)[0], "return two tensors"),
}

total = lambda batches: sum(m * n for m, n in batches)  # noqa: E731
texts = lambda batches: sum(n for _, n in batches)  # noqa: E731
MEAN_LOSS = {
    "the broken code": (lambda b: sum(m for m, _ in b) / texts(b), "too small by about the size"),
    "mean of means": (lambda b: sum(m for m, _ in b) / len(b), "mean of the batch means"),
    "sum": (total, "sum over the texts. Divide"),
    "sum over batches": (lambda b: total(b) / len(b), "divided by the number of batches"),
    "last batch left out": (
        lambda b: total(b[:-1]) / texts(b[:-1]) if len(b) > 1 else b[0][0],
        "last batch is left out",
    ),
    "all as large as the first": (
        lambda b: total(b) / (b[0][1] * len(b)),
        "as large as the first",
    ),
    "median": (
        lambda b: torch.tensor([m for m, _ in b]).median(),
        "the middle one of the batch means",
    ),
    "rounded": (lambda b: round(total(b) / texts(b), 2), "is .* want"),
    "nothing": (lambda b: None, "is None"),
}


def table(start, end, allowed, longest, score=torch.add, between=False):
    """(sums (length, length) with -inf where a span does not fit)"""
    place = torch.arange(len(start))
    length = place[None, :] - place[:, None]
    fits = (length >= 0) & (length < longest) & allowed[:, None] & allowed[None, :]
    if between:
        forbidden = torch.cat([torch.zeros(1), (~allowed).cumsum(0)])
        fits &= forbidden[1:][None, :] - forbidden[:-1][:, None] == 0
    return score(start[:, None], end[None, :]).masked_fill(~fits, -torch.inf)


def answer_by(change_place=lambda s, e: (s, e), silent=torch.lt, shorter=0, **options):
    def best_answer(start, end, allowed, nowhere, longest):
        best = table(start, end, allowed, longest).max()
        sums = table(start, end, allowed, longest - shorter, **options)
        if not torch.isfinite(sums).any() or silent(best, torch.tensor(nowhere)):
            return None
        return change_place(*divmod(int(sums.argmax()), len(start)))

    return best_answer


def each_by_itself(start, end, allowed, nowhere, longest):
    s, e = (int(one.masked_fill(~allowed, -1e9).argmax()) for one in (start, end))
    return None if table(start, end, allowed, longest).max() < nowhere else (s, e)


def start_first(start, end, allowed, nowhere, longest):
    s = int(start.masked_fill(~allowed, -1e9).argmax())
    return _of_one(table(start, end, allowed, longest), nowhere, row=s)


def end_first(start, end, allowed, nowhere, longest):
    e = int(end.masked_fill(~allowed, -1e9).argmax())
    return _of_one(table(start, end, allowed, longest), nowhere, column=e)


def _of_one(sums, nowhere, row=None, column=None):
    """The best of one row or column; silence is decided by the best of all."""
    if sums.max() < nowhere:
        return None
    return (
        (row, int(sums[row].argmax()))
        if column is None
        else (int(sums[:, column].argmax()), column)
    )


def forbidden_too(start, end, allowed, nowhere, longest):
    return answer_by()(start, end, torch.ones_like(allowed), nowhere, longest)


BEST = {
    "each by itself": (each_by_itself, "each by itself"),
    "largest start first": (start_first, "the largest start, and then the best end"),
    "largest end first": (end_first, "the largest end, and then the best start"),
    "<=": (answer_by(silent=torch.le), "“No answer” must be larger to win"),
    "never silent": (answer_by(silent=lambda a, b: False), "so the answer is None"),
    "always silent": (lambda *given: None, "You returned None"),
    "one token too short": (answer_by(shorter=1), "as many tokens as `longest`"),
    "one token too long": (answer_by(shorter=-1), "more tokens than `longest`"),
    "all between allowed": (answer_by(between=True), "the tokens between them need not"),
    "forbidden ends": (forbidden_too, "is not allowed"),
    "end after the last": (answer_by(lambda s, e: (s, e + 1)), "place after the last token"),
    "start and length": (answer_by(lambda s, e: (s, e - s + 1)), "start and the number of tokens"),
    "product": (answer_by(score=torch.mul, silent=lambda a, b: False), "the largest product"),
    "one number": (answer_by(lambda s, e: s), "Return a pair"),
}


@cases(GRADIENT)
def test_wrong_head_gradient_is_refused_with_its_hint(answer, hint):
    refused("12.1", answer, hint)


@cases(MEAN_LOSS)
def test_wrong_mean_loss_is_refused_with_its_hint(answer, hint):
    refused("12.2", answer, hint)


@cases(BEST)
def test_wrong_best_answer_is_refused_with_its_hint(answer, hint):
    refused("12.3", answer, hint)


def test_right_answers_of_several_styles_pass():
    def loop(start, end, allowed, nowhere, longest):
        best, place = -float("inf"), None
        for s in range(len(start)):
            for e in range(s, min(s + longest, len(start))):
                if allowed[s] and allowed[e] and start[s].item() + end[e].item() > best:
                    best, place = start[s].item() + end[e].item(), [s, e]
        return place if best >= nowhere else None

    def in_place(x, weight, bias, labels):
        delta = logits_of(x, weight, bias).softmax(-1)
        delta[torch.arange(len(x)), labels] -= 1
        return delta.T @ x / len(x), delta.mean(0)

    assert check("12.1", RIGHT_GRADIENT).passed and check("12.1", in_place).passed
    assert check("12.2", lambda b: total(b) / texts(b)).passed
    assert check("12.3", answer_by()).passed and check("12.3", loop).passed
