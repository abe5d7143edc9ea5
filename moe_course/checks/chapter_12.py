"""Checks of the exercises of chapter 12, fine-tuning."""

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import (
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
        answer = expect_answer(
            head_gradient(x.clone(), weight.clone(), bias.clone(), labels.clone()), "the answer"
        )
        what = f"With {n} texts, d = {d} and {k} classes"
        pair = isinstance(answer, (tuple, list)) and len(answer) == 2
        expect_true(
            pair, f"{what}: return two tensors, the gradients of the weight and of the bias."
        )
        p = (x @ weight.T + bias).softmax(-1)
        right = F.one_hot(labels, k).float()
        expect_shape(answer[0], (k, d), f"{what}: the weight's gradient")
        expect_close(
            answer[0],
            w.grad,
            f"{what}: the weight's gradient",
            hints={
                "it is n times too large: the loss is a mean over the texts, so each "
                "counts 1/n": w.grad * n,
                "the right class is not subtracted. δ = p − one-hot": p.T @ x / n,
                "the sign is the other way round: δ = p − one-hot, not one-hot − p": (right - p).T
                @ x
                / n,
                "softmax was taken over the texts, not over the classes: dim=-1": (
                    (x @ weight.T + bias).softmax(0) - right
                ).T
                @ x
                / n,
                "the bias is missing in the logits": ((x @ weight.T).softmax(-1) - right).T @ x / n,
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
            },
            atol=1e-4,
        )
    return "Every text counts once, whatever the batches are."


def _best_by_hand(start, end, allowed, longest):
    best, place = -float("inf"), None
    for s in range(len(start)):
        for e in range(s, min(s + longest, len(start))):
            if allowed[s] and allowed[e] and start[s] + end[e] > best:
                best, place = float(start[s] + end[e]), (s, e)
    return place


def check_best_answer(best_answer):
    generator = torch.Generator().manual_seed(2)
    for length, longest in ((9, 4), (7, 7), (12, 3), (6, 1)):
        for _ in range(6):
            start, end = (
                torch.randn(length, generator=generator),
                torch.randn(length, generator=generator),
            )
            allowed = torch.rand(length, generator=generator) > 0.3
            allowed[length // 2] = True
            place = _best_by_hand(start, end, allowed, longest)
            score = float(start[place[0]] + end[place[1]])
            inside = [i for i in range(length) if allowed[i]]
            wrong_free = (
                int(start.masked_fill(~allowed, -1e9).argmax()),
                int(end.masked_fill(~allowed, -1e9).argmax()),
            )
            for nowhere in (score - 1, score + 1):
                answer = best_answer(start.clone(), end.clone(), allowed.clone(), nowhere, longest)
                what = (
                    f"With {length} tokens, at most {longest} in an answer, and “no answer” at "
                    f"{nowhere:.2f}"
                )
                if answer is not None and isinstance(answer, (tuple, list)):
                    answer = tuple(int(a) for a in answer)
                    bad = [i for i in answer if i not in inside]
                    expect_true(
                        not bad,
                        f"{what}: token {bad[:1]} is not allowed: it is no part of the passage.",
                    )
                    expect_true(
                        answer[0] <= answer[1],
                        f"{what}: the answer ends at {answer[1]}, before it starts at "
                        f"{answer[0]}. The two largest logits need not belong together.",
                    )
                    fits = answer[1] - answer[0] < longest
                    expect_true(fits, f"{what}: the answer has {answer[1] - answer[0] + 1} tokens.")
                wanted = None if nowhere > score else place
                if wanted is None:
                    expect_true(
                        answer is None,
                        f"{what}: the best span has {score:.2f}, so the answer is None: the "
                        f"passage does not say. You returned {answer}.",
                    )
                else:
                    expect_true(
                        answer is not None,
                        f"{what}: the best span, {wanted}, has {score:.2f} and wins. You "
                        "returned None.",
                    )
                    expect_equal(
                        answer,
                        wanted,
                        what,
                        hints={
                            "start and end are the two largest logits, each by itself. Take "
                            "the pair with the largest sum": wrong_free
                        },
                    )
    return "In order, inside the passage, short enough, and silent where the passage is."


CHECKS = {"12.1": check_head_gradient, "12.2": check_mean_loss, "12.3": check_best_answer}
