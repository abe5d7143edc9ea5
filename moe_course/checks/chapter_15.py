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
                "only the signs are left, so every number has the same size (FGSM). Here r "
                "points where the gradient points": epsilon * real.sign(),
                "you divide by the sum of the absolute values. Want the root of the sum of "
                "squares, `norm`": epsilon * real / real.flatten(1).abs().sum(1)[:, None, None],
                "you divide by the largest number. Want the norm of the whole text": epsilon
                * real
                / real.flatten(1).abs().amax(1)[:, None, None],
                "the length counts: epsilon is the norm of all of a text's r, however many tokens "
                "it has": epsilon * real / norm * mask.sum(1).sqrt()[:, None, None],
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
        probabilities, targets = _telling_texts(n, classes, coverage, generator)
        answer = expect_answer(
            answered(probabilities.clone(), targets.clone(), coverage), "answered's answer"
        )
        expect_close(
            answer,
            _accuracy_of_best(probabilities.amax(-1), probabilities, targets, coverage),
            f"The accuracy at coverage {coverage}",
            hints=_other_rules(probabilities, targets, coverage),
        )
    return "Sorted by what the model itself can know."


def _accuracy_of_best(score, probabilities, targets, coverage):
    """Accuracy on the round(n · coverage) texts with the largest score (n,)."""
    kept = score.argsort(descending=True)[: round(len(targets) * coverage)]
    return (probabilities[kept].argmax(-1) == targets[kept]).float().mean()


def _other_rules(probabilities, targets, coverage):
    """Hint -> the number that the wrong rule gives."""
    n, confidence = len(targets), probabilities.amax(-1)
    right = (probabilities.argmax(-1) == targets).float()
    best, second = probabilities.topk(2).values.T
    by = {
        "these are the least certain texts. The others are to be answered": -confidence,
        "you sort by the probability of the right class. That needs the answers: "
        "sort by the largest probability": probabilities[torch.arange(n), targets],
        "you sort by the margin between the two best classes. Sort by the largest probability "
        "itself": best - second,
        "you sort by the entropy. Sort by the largest probability": torch.special.entr(
            probabilities
        )
        .sum(-1)
        .neg(),
        "these are the first texts as they come. Sort them first": -torch.arange(n).float(),
    }
    found = {
        hint: _accuracy_of_best(score, probabilities, targets, coverage)
        for hint, score in by.items()
    }
    kept = right[confidence.argsort(descending=True)]
    found["you divide by all texts. Accuracy here is a share of the answered ones"] = (
        kept[: round(n * coverage)].sum() / n
    )
    found["rounded down: want round(n * coverage) texts"] = kept[: int(n * coverage)].mean()
    found[
        "coverage is no threshold for the probability. It is the share of texts that are answered"
    ] = right[confidence >= coverage].mean().nan_to_num()
    found["this is the accuracy on all texts"] = right.mean()
    return found


def _telling_texts(n, classes, coverage, generator):
    """Probabilities (n, classes) and targets (n,) for which every wrong rule that can differ gives
    another number than the right one, and than the other wrong ones."""
    for _ in range(500):
        probabilities = torch.randn(n, classes, generator=generator).mul(2).softmax(-1)
        unsure = torch.rand(n, generator=generator) > probabilities.amax(-1)
        wrong = unsure | (torch.rand(n, generator=generator) < 0.2)
        targets = (probabilities.argmax(-1) + wrong.long()) % classes
        right = _accuracy_of_best(probabilities.amax(-1), probabilities, targets, coverage)
        rules = [float(value) for value in _other_rules(probabilities, targets, coverage).values()]
        if round(n * coverage) == int(n * coverage):
            rules.pop(6)  # the one that rounds down
        numbers = [round(value, 4) for value in (float(right), *rules)]
        if coverage == 1 or len(set(numbers)) == len(numbers):
            break
    return probabilities, targets


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
                "you take every batch to be as large as the first": means.sum() * sizes[0] / rows,
                "the last batch is left out": F.cross_entropy(
                    logits[: -sizes[-1]], labels[: -sizes[-1]]
                ),
                "you divide by the number of logits. A text has several": F.cross_entropy(
                    logits, labels, reduction="sum"
                )
                / logits.numel(),
                "divided by the number of batches, not of texts": F.cross_entropy(
                    logits, labels, reduction="sum"
                )
                / len(batches),
            },
        )
    return "Every text counts once, in whatever batch it comes."


CHECKS = {"15.1": check_perturbation, "15.2": check_answered, "15.3": check_measured}
