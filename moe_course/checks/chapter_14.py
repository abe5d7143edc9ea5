"""Checks of the exercises of chapter 14, parameter-efficient tuning."""

import torch
from torch import nn

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


def check_lora(lora):
    generator = torch.Generator().manual_seed(0)
    for rows, width_in, width_out, rank, alpha in (
        (5, 7, 4, 2, 6.0),
        (3, 4, 9, 3, 1.5),
        (2, 5, 5, 5, 20.0),
    ):
        x, weight = (
            torch.randn(*size, generator=generator)
            for size in ((rows, width_in), (width_out, width_in))
        )
        A, B = (
            torch.randn(*size, generator=generator)
            for size in ((rank, width_in), (width_out, rank))
        )
        what = f"lora with in = {width_in}, out = {width_out}, r = {rank}, alpha = {alpha:g}"
        answer = expect_answer(
            lora(x.clone(), weight.clone(), A.clone(), B.clone(), alpha), "lora's answer"
        )
        expect_shape(answer, (rows, width_out), what)
        base, change = x @ weight.T, x @ A.T @ B.T
        expect_close(
            answer,
            base + alpha / rank * change,
            what,
            hints={
                "the factor is missing. The change counts alpha / r times": base + change,
                "the factor is alpha. Divide it by r, the rows of A": base + alpha * change,
                "you divide by r, and alpha is missing": base + change / rank,
                "the factor is r / alpha. It is the other way round": base + rank / alpha * change,
                "the factor is on all of it. The base's own output stays as it is": alpha
                / rank
                * (base + change),
                "the base's own output is missing": alpha / rank * change,
            },
        )
    return "W x + (alpha / r) B A x."


def check_broken_lora(Layer):
    generator = torch.Generator().manual_seed(1)

    def make(rank=2, alpha=6.0):
        linear = nn.Linear(6, 4, bias=False)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(4, 6, generator=generator))
        return linear, Layer(linear, rank, alpha), linear.weight.detach().clone()

    x = torch.randn(5, 6, generator=generator)
    _, layer, weight = make()
    expect_close(
        expect_answer(layer(x), "The layer's answer").detach(),
        x @ weight.T,
        "The output of a fresh layer",
        hints={
            "the first bug is still there. Training should start at the base: so one of the "
            "two must be "
            "zero at the start (in the paper it is B)": lambda y: (
                not torch.allclose(y, x @ weight.T)
            )
        },
    )
    expect_true(
        bool(layer.A.abs().max() > 0 or layer.B.abs().max() > 0),
        "A and B are both zero. Then neither gets a gradient, and nothing is ever learned.",
    )
    trained = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
    named = ", ".join(sorted(trained))
    expect_true(
        trained == {"A", "B"},
        f"These get gradients: {named}. Only A and B may: freeze the linear layer.",
    )
    for rank, alpha in ((2, 6.0), (3, 3.0)):
        linear, layer, weight = make(rank, alpha)
        with torch.no_grad():
            layer.A.copy_(torch.randn(rank, 6, generator=generator))
            layer.B.copy_(torch.randn(4, rank, generator=generator))
        change = layer.B.detach() @ layer.A.detach()
        wanted = x @ (weight + alpha / rank * change).T
        expect_close(layer(x).detach(), wanted, f"The output with r = {rank}, alpha = {alpha:g}")
        layer.merge()
        expect_close(
            layer(x).detach(),
            wanted,
            "The output after merge()",
            hints={
                "after merge() the change is in the weight, and forward adds it once more": x
                @ (weight + 2 * alpha / rank * change).T,
                "merge() did nothing, and forward no longer adds the change": x @ weight.T,
                "merge() forgot the factor alpha / r": x @ (weight + change).T,
            },
        )
        expect_close(
            linear.weight.detach(),
            weight + alpha / rank * change,
            "The weight after merge()",
            hints={"merge() did not add the change to the weight": weight},
        )
        layer.merge()
        expect_close(
            layer(x).detach(),
            wanted,
            "The output after a second merge()",
            hints={
                "a second merge() adds the change again. Remember that it is merged": x
                @ (weight + 2 * alpha / rank * change).T
            },
        )
    return "It starts at the base, trains A and B alone, and counts the change once."


def check_choose_experts(choose_experts):
    generator = torch.Generator().manual_seed(2)
    for layers, n_experts, p in ((3, 8, 0.2), (2, 5, 0.5), (4, 16, 0.35), (2, 6, 1.0)):
        scores = (
            torch.rand(layers, n_experts, generator=generator) ** 3 + 0.01
        )  # none so small that rounding decides
        scores = scores * torch.arange(1, layers + 1)[:, None]
        answer = expect_answer(choose_experts(scores.clone(), p), "choose_experts' answer")
        what = f"The experts of {layers} layers with {n_experts} experts, p = {p:g}"
        is_list = isinstance(answer, (list, tuple)) and all(
            isinstance(row, (list, tuple)) for row in answer
        )
        expect_true(is_list, f"{what}: return a list with one list of numbers per layer.")
        given = [sorted(int(expert) for expert in row) for row in answer]
        within = scores / scores.sum(1, keepdim=True)
        expect_equal(
            given,
            _smallest(within, p),
            what,
            hints={
                "you divided by the sum over the layers (down a column). A layer's shares "
                "must sum to 1, so divide by "
                "the sum over its experts": _smallest(scores / scores.sum(0, keepdim=True), p),
                "the scores are not divided by their sum: p is a share of the "
                "layer's total": _smallest(scores, p),
                "these are the experts that have p alone. It is their sum that must reach p": [
                    (row >= p).nonzero().flatten().tolist() for row in within
                ],
                "one expert per layer is missing: stop when the sum has reached p, not "
                "before it would": [
                    sorted(row.argsort(descending=True)[: len(full) - 1].tolist())
                    for row, full in zip(within, _smallest(within, p), strict=True)
                ],
                "you began with the least relevant experts": _smallest(within, p, descending=False),
            },
        )
    return "The fewest experts of each layer that together hold a share p."


def _smallest(share, p, descending=True):
    found = []
    for row in share:
        order, total, taken = row.argsort(descending=descending).tolist(), 0.0, []
        for expert in order:
            taken.append(expert)
            total += float(row[expert])
            if total >= p - 1e-6:
                break
        found.append(sorted(taken))
    return found


CHECKS = {"14.1": check_lora, "14.2": check_broken_lora, "14.3": check_choose_experts}
