"""Checks of the exercises of chapter 12, fine-tuning."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import (
    NotYet,
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


def check_head_gradient(head_gradient):
    generator = torch.Generator().manual_seed(0)
    for n, d, k in ((6, 4, 3), (1, 5, 2), (9, 3, 4)):
        x = torch.randn(n, d, generator=generator)
        weight, bias = torch.randn(k, d, generator=generator), torch.randn(k, generator=generator)
        labels = torch.randint(
            k - (k == 4), (n,), generator=generator
        )  # once, the last class has no text
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        F.cross_entropy(x @ w.T + b, labels).backward()
        what = f"With {n} texts, d = {d} and {k} classes"
        answer = _without_autograd(head_gradient, (x, weight, bias, labels), what)
        pair = isinstance(answer, (tuple, list)) and len(answer) == 2
        expect_true(
            pair, f"{what}: return two tensors, the gradients of the weight and of the bias."
        )
        shapes = [tuple(getattr(part, "shape", ())) for part in answer]
        expect_true(
            shapes != [(k,), (k, d)],
            f"{what}: the bias's gradient stands first. Weight, then bias.",
        )
        logits, right = x @ weight.T + bias, F.one_hot(labels, k).float()
        p = logits.softmax(-1)
        delta_of = {
            "the right class is not subtracted. δ = p − one-hot": p,
            "the sign is the other way round: δ = p − one-hot, not one-hot − p": right - p,
            "softmax was taken over the texts, not over the classes: over which dimension do "
            "probabilities sum to 1?": logits.softmax(0) - right,
            "the bias is missing in the logits": (x @ weight.T).softmax(-1) - right,
            "these are logarithms of probabilities, not probabilities": (
                logits.log_softmax(-1) - right
            ),
            "the logits were taken for probabilities": logits - right,
        }
        expect_shape(answer[0], (k, d), f"{what}: the weight's gradient")
        expect_close(
            answer[0],
            w.grad,
            f"{what}: the weight's gradient",
            hints={
                "it is n times too large: the loss is a mean over the texts, so each "
                "counts 1/n": w.grad * n,
                "it is n times too small: the 1/n counts once": w.grad / n,
                "it is K times too small: the loss is a mean over texts, not over classes": w.grad
                / k,
                **{hint: delta.T @ x / n for hint, delta in delta_of.items()},
            },
        )
        expect_shape(answer[1], (k,), f"{what}: the bias's gradient")
        expect_close(
            answer[1],
            b.grad,
            f"{what}: the bias's gradient",
            hints={
                "it is n times too large: divide by the number of texts here, too": b.grad * n,
                "it is n times too small: δ holds the 1/n already, so sum, and do not take "
                "the mean": b.grad / n,
            },
        )
    return "Equal to autograd: δ = (p − one-hot)/n, and it flows on through x."


def _without_autograd(function, tensors, what: str):
    """The answer of a function that must do without: in this mode nothing records gradients."""
    try:
        with torch.inference_mode():
            answer = function(*(tensor.clone() for tensor in tensors))
    except RuntimeError as error:
        if "grad" in str(error):
            raise NotYet(
                f"{what}: autograd is not at hand here. Write the formula itself: what is δ, and "
                "what does it meet on its way to W?"
            ) from None
        if "one_hot" in str(error) or "must match the size" in str(error):
            raise NotYet(
                f"{what} a matrix has another size than you think: {error}. Of which classes does "
                "`one_hot` know, if none of the texts has the last one?"
            ) from None
        raise
    return expect_answer(answer, "the answer")


def check_mean_loss(mean_loss):
    """The batch means of batches of unequal size -> the mean over the texts."""
    generator = torch.Generator().manual_seed(1)
    for sizes in ((16, 16, 16, 16), (16, 16, 16, 3), (5,), (8, 8, 1)):
        losses = [torch.rand(size, generator=generator) * 3 for size in sizes]
        batches = [(one.mean().item(), len(one)) for one in losses]
        answer = expect_answer(mean_loss(list(batches)), "the answer")
        means = torch.tensor([mean for mean, _ in batches])
        texts = sum(sizes)
        what = f"With batches of {', '.join(map(str, sizes))} texts"
        expect_close(
            answer,
            torch.cat(losses).mean(),
            what,
            hints={
                "it is too small by about the size of a batch. What does each batch's number "
                "stand for?": means.sum() / texts,
                "divided by the number of batches, not of texts": sum(m * n for m, n in batches)
                / len(batches),
                "this is the mean of the batch means. A small last batch then counts as much "
                "as a full one": means.mean(),
                "this is a sum over the texts. Divide by their number": torch.cat(losses).sum(),
                "the last batch is left out": (
                    torch.cat(losses[:-1]).mean() if len(losses) > 1 else float("nan")
                ),
                "every batch was taken to be as large as the first": (
                    sum(m * n for m, n in batches) / (sizes[0] * len(sizes))
                ),
                "this is the middle one of the batch means, not the mean over the texts": (
                    means.median()
                ),
            },
            atol=1e-4,
        )
    return "Every text counts once, whatever the batches are."


@dataclass(frozen=True)
class _Question:
    """The logits of one passage: start, end (length,), allowed (length,) bool; longest: tokens in
    an answer."""

    start: torch.Tensor
    end: torch.Tensor
    allowed: torch.Tensor
    longest: int

    def spans(self, fewer: int = 0) -> dict:
        """{(first, last): its sum} of all that fit, in at most `longest` − `fewer` tokens."""
        inside = [i for i in range(len(self.start)) if self.allowed[i]]
        near = {(s, e) for s in inside for e in inside if s <= e < s + self.longest - fewer}
        return {(s, e): float(self.start[s] + self.end[e]) for s, e in sorted(near)}

    def asked(self, best_answer, nowhere: float):
        tensors = self.start.clone(), self.end.clone(), self.allowed.clone()
        answer = best_answer(*tensors, nowhere, self.longest)
        if answer is None:
            return None
        pair = isinstance(answer, (tuple, list)) and len(answer) == 2
        expect_true(pair, f"Return a pair, (first token, last token), or None; got {answer!r}.")
        return tuple(int(place) for place in answer)

    def said(self, nowhere: float) -> str:
        n = len(self.start)
        return f"With {n} tokens, at most {self.longest} in an answer, “no answer” at {nowhere:.2f}"


def _best(spans: dict):
    return max(spans, key=spans.get) if spans else None


def _mistaken(question: _Question) -> dict:
    """Message -> the answer that this mistake gives."""
    spans, q = question.spans(), question
    first = int(q.start.masked_fill(~q.allowed, -1e9).argmax())
    last = int(q.end.masked_fill(~q.allowed, -1e9).argmax())
    s, e = _best(spans)
    return {
        "Start and end are the two largest logits, each by itself. Take the pair with the largest "
        "sum.": (first, last),
        "You took the largest start, and then the best end for it. Could a smaller start have a "
        "much better end?": _best({span: v for span, v in spans.items() if span[0] == first}),
        "You took the largest end, and then the best start for it. Could a smaller end have a much "
        "better start?": _best({span: v for span, v in spans.items() if span[1] == last}),
        "You left out spans of as many tokens as `longest`, which are allowed.": (
            _best(question.spans(fewer=1))
        ),
        "Your span has more tokens than `longest`. How many tokens are from s to e?": (
            _best(question.spans(fewer=-1))
        ),
        "Only the two ends must be allowed; the tokens between them need not be.": (
            _best({span: v for span, v in spans.items() if q.allowed[span[0] : span[1] + 1].all()})
        ),
        "This is the place after the last token. Return the last token itself.": (s, e + 1),
        "This is the start and the number of tokens. Return the last token.": (s, e - s + 1),
        "This is the largest product; a span's score is a sum.": (
            max(spans, key=lambda span: float(q.start[span[0]] * q.end[span[1]]))
        ),
    }


def _questions():
    generator = torch.Generator().manual_seed(2)
    for length, longest in ((9, 4), (7, 7), (12, 3), (6, 1)):
        for _ in range(6):
            # Multiples of 1/1024, so that every sum is exact, and “no answer” can be as good.
            start, end = torch.randint(-2048, 2048, (2, length), generator=generator) / 1024
            allowed = torch.rand(length, generator=generator) > 0.3
            allowed[length // 2] = True
            question = _Question(start, end, allowed, longest)
            sums = list(question.spans().values())
            if sums.count(max(sums)) == 1:  # else either would be right
                yield question


def check_best_answer(best_answer):
    questions = list(_questions())
    scores = [max(question.spans().values()) for question in questions]
    right = [_best(question.spans()) for question in questions]
    given = [q.asked(best_answer, score - 1) for q, score in zip(questions, scores, strict=True)]
    if given != right:
        mistakes = [_mistaken(question) for question in questions]
        for message in mistakes[0]:
            expect_true([one[message] for one in mistakes] != given, message)
        number = next(i for i, answer in enumerate(given) if answer != right[i])
        _say_what_is_wrong(
            questions[number], scores[number] - 1, given[number], right[number], scores[number]
        )
    for question, score, place in zip(questions, scores, right, strict=True):
        expect_true(
            question.asked(best_answer, score) == place,
            f"{question.said(score)}: the best span has {score:.2f}, too. “No answer” must be "
            "larger to win.",
        )
        answer = question.asked(best_answer, score + 1)
        expect_true(
            answer is None,
            f"{question.said(score + 1)}: the best span has {score:.2f}, so the answer is None: "
            f"the passage does not say. You returned {answer}.",
        )
    return "In order, inside the passage, short enough, and silent where the passage is."


def _say_what_is_wrong(question, nowhere, answer, place, score) -> None:
    what = question.said(nowhere)
    expect_true(
        answer is not None,
        f"{what}: the best span, {place}, has {score:.2f} and wins. You returned None.",
    )
    inside = [i for i in range(len(question.start)) if question.allowed[i]]
    bad = [i for i in answer if i not in inside]
    expect_true(not bad, f"{what}: token {bad[:1]} is not allowed: it is no part of the passage.")
    expect_true(
        answer[0] <= answer[1],
        f"{what}: the answer ends at {answer[1]}, before it starts at {answer[0]}. The two "
        "largest logits need not belong together.",
    )
    n_tokens = answer[1] - answer[0] + 1
    expect_true(n_tokens <= question.longest, f"{what}: the answer has {n_tokens} tokens.")
    expect_equal(answer, place, what)


CHECKS = {"12.1": check_head_gradient, "12.2": check_mean_loss, "12.3": check_best_answer}
