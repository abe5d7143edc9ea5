"""Checks of the exercises of chapter 15, overfitting and robustness."""

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import expect_answer, expect_close, expect_shape, expect_true


def check_perturbation(perturbation):
    generator = torch.Generator().manual_seed(0)
    for batch, length, width, epsilon in ((3, 5, 4, 0.5), (2, 7, 3, 2.0)):
        gradient = torch.randn(batch, length, width, generator=generator)
        ends = torch.randint(2, length, (batch,), generator=generator)
        mask = (torch.arange(length) < ends[:, None]).long()
        answer = perturbation(gradient.clone(), mask.clone(), epsilon)
        what = f"The perturbation of {batch} texts, epsilon {epsilon}"
        expect_shape(answer, (batch, length, width), what)
        real = gradient * mask[..., None]
        norm = real.flatten(1).norm(dim=1)[:, None, None]
        per_token = real / real.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        padded = gradient.flatten(1).norm(dim=1)[:, None, None]
        expect_close(
            answer,
            epsilon * real / norm,
            what,
            hints={
                "the sign is turned: this goes downhill, and makes the loss smaller": -epsilon
                * real
                / norm,
                "every token is scaled by itself. One norm belongs to the whole text": epsilon
                * per_token,
                "one norm is taken over the whole batch. Each text has its own": epsilon
                * real
                / real.norm(),
                "padding is perturbed. Multiply the gradient by the mask first": epsilon
                * gradient
                / padded,
                "padding is left out in the end, but its gradient is still in the norm": epsilon
                * real
                / padded,
                "epsilon is missing": real / norm,
                "this is the square of the norm below": epsilon * real / norm**2,
            },
        )
    zero = perturbation(torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.long), 1.0)
    expect_true(
        bool((zero == 0).all()),
        "A text with gradient 0 has no uphill direction: want 0 there, not nan.",
    )
    return "One norm per text, uphill, nothing at padding."


def check_answered(answered):
    generator = torch.Generator().manual_seed(1)
    for n, classes, coverage in ((40, 3, 0.5), (60, 4, 0.25), (11, 3, 0.7), (20, 5, 1.0)):
        probabilities = torch.randn(n, classes, generator=generator).mul(2).softmax(-1)
        rank = probabilities.amax(-1).argsort(descending=True).argsort()  # 0: the most certain
        wrong = torch.where(
            rank < 0.4 * n, rank % 4 == 0, rank % 4 != 0
        )  # certain texts are right more often
        targets = (probabilities.argmax(-1) + wrong.long()) % classes
        answer = expect_answer(
            answered(probabilities.clone(), targets.clone(), coverage), "answered's answer"
        )
        confidence, right = probabilities.amax(-1), probabilities.argmax(-1) == targets
        order, count = confidence.argsort(descending=True), round(n * coverage)
        kept, least = right[order[:count]].float(), right[order[-count:]].float()
        of_right = probabilities[torch.arange(n), targets].argsort(descending=True)[:count]
        expect_close(
            answer,
            kept.mean(),
            f"The accuracy at coverage {coverage}",
            hints={
                "these are the least certain texts. The others are to be answered": least.mean(),
                "you divide by all texts. Accuracy here is a share of the answered ones": kept.sum()
                / n,
                "you sort by the probability of the right class. That needs the answers: "
                "sort by the largest probability": right[of_right].float().mean(),
            },
        )
    return "Sorted by what the model itself can know."


def check_measured(measured):
    generator = torch.Generator().manual_seed(2)
    for sizes in ((4, 4, 1), (3, 3, 3), (16, 2)):
        batches = [
            (torch.randn(n, 5, generator=generator), torch.randint(5, (n,), generator=generator))
            for n in sizes
        ]
        answer = expect_answer(
            measured([(x.clone(), y.clone()) for x, y in batches]), "measured's answer"
        )
        logits, labels = (torch.cat(part) for part in zip(*batches, strict=True))
        means = torch.stack([F.cross_entropy(x, y) for x, y in batches])
        rows = len(labels)
        expect_close(
            answer,
            F.cross_entropy(logits, labels),
            f"The loss of batches of {', '.join(map(str, sizes))}",
            hints={
                "a sum of batch means divided by the number of texts: far too small": means.sum()
                / rows,
                "the mean of the batch means. A last, smaller batch then counts as much as a "
                "full one": means.mean(),
                "this is a sum. Divide by the number of texts": F.cross_entropy(
                    logits, labels, reduction="sum"
                ),
                "this is the sum of the batch means": means.sum(),
            },
        )
    return "Every text counts once, in whatever batch it comes."


CHECKS = {"15.1": check_perturbation, "15.2": check_answered, "15.3": check_measured}
