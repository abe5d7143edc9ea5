"""Checks of the exercises of chapter 14, parameter-efficient tuning."""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


class _Products(TorchDispatchMode):
    """Notes the sizes of all matrix products made within the `with` block."""

    NAMES = ("mm", "bmm", "addmm", "baddbmm", "matmul", "mul", "outer")

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in self.NAMES:
            self.sizes.append(result.numel())
        return result


def check_lora(lora):
    generator = torch.Generator().manual_seed(0)
    for rows, width_in, width_out, rank, alpha in (
        (5, 7, 4, 2, 6.0),
        (3, 4, 9, 3, 1.5),
        (2, 5, 6, 4, 20.0),
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
        with _Products() as made:
            answer = lora(x.clone(), weight.clone(), A.clone(), B.clone(), alpha)
        answer = expect_answer(answer, "lora's answer")
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
                "the factor is alpha / √r. Divide by r itself, the rows of A": base
                + alpha / rank**0.5 * change,
                "you divide by the width of the input, the columns of A. r counts A's rows": base
                + alpha / width_in * change,
                "the change is taken off. It is added": base - alpha / rank * change,
            },
        )
        expect_true(
            width_in * width_out not in made.sizes,
            f"{what} is right, but on the way you made a matrix of {width_out} × {width_in}, as "
            "large as W. Send x through A first, then through B: both products stay thin.",
        )
    return "W x + (alpha / r) B A x."


def check_broken_lora(Layer):
    generator = torch.Generator().manual_seed(1)

    def make(rank=2, alpha=6.0):
        linear = nn.Linear(6, 4)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(4, 6, generator=generator))
            linear.bias.copy_(torch.randn(4, generator=generator))
        return linear, Layer(linear, rank, alpha), linear.weight.detach().clone()

    x = torch.randn(5, 6, generator=generator)
    linear, layer, weight = make()
    bias = linear.bias.detach().clone()
    expect_close(
        expect_answer(layer(x), "The layer's answer").detach(),
        x @ weight.T + bias,
        "The output of a fresh layer",
        hints={
            "the linear layer's bias is lost": x @ weight.T,
            "the first bug is still there. Training should start at the base: so one of the "
            "two must be zero at the start (in the paper it is B)": lambda y: True,
        },
    )
    _check_trained(layer)
    for rank, alpha in ((2, 6.0), (3, 3.0)):
        linear, layer, weight = make(rank, alpha)
        bias = linear.bias.detach().clone()
        with torch.no_grad():
            layer.A.copy_(torch.randn(rank, 6, generator=generator))
            layer.B.copy_(torch.randn(4, rank, generator=generator))
        change = layer.B.detach() @ layer.A.detach()
        wanted = x @ (weight + alpha / rank * change).T + bias
        expect_close(
            layer(x).detach(),
            wanted,
            f"The output with r = {rank}, alpha = {alpha:g}",
            hints={
                "forward no longer adds the change: before merge() it must": x @ weight.T + bias,
                "the factor alpha / r is missing": x @ (weight + change).T + bias,
            },
        )
        layer.merge()
        twice = x @ (weight + 2 * alpha / rank * change).T + bias
        expect_close(
            layer(x).detach(),
            wanted,
            "The output after merge()",
            hints={
                "after merge() the change is in the weight, and forward adds it once more": twice,
                "merge() did nothing, and forward no longer adds the change": x @ weight.T + bias,
                "merge() forgot the factor alpha / r": x @ (weight + change).T + bias,
                "merge() takes the change off": x @ (weight - alpha / rank * change).T + bias,
            },
        )
        expect_close(
            linear.weight.detach(),
            weight + alpha / rank * change,
            "The weight after merge()",
            hints={
                "merge() did not add the change to the weight": weight,
                "merge() forgot the factor alpha / r": weight + change,
            },
        )
        layer.merge()
        expect_close(
            layer(x).detach(),
            wanted,
            "The output after a second merge()",
            hints={
                "a second merge() adds the change again. Remember that it is merged": twice,
                "a second merge() takes the change out again": x @ weight.T + bias,
            },
        )
    return "It starts at the base, trains A and B alone, and counts the change once."


def _check_trained(layer: nn.Module) -> None:
    """A and B get gradients, and nothing else does."""
    expect_true(
        bool(layer.A.abs().max() > 0 or layer.B.abs().max() > 0),
        "A and B are both zero. Then neither gets a gradient, and nothing is ever learned.",
    )
    trained = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
    named = ", ".join(sorted(trained)) or "none"
    expect_true(
        {"A", "B"} <= trained,
        f"These get gradients: {named}. A and B both have to: they are what is trained.",
    )
    biases = {name for name in trained if name.endswith("bias")}
    expect_true(
        not biases or trained - biases != {"A", "B"},
        f"These get gradients: {named}. The weight is frozen, and the bias still moves: freeze the "
        "whole linear layer.",
    )
    expect_true(
        trained == {"A", "B"},
        f"These get gradients: {named}. Only A and B may: freeze the linear layer.",
    )


def check_choose_experts(choose_experts):
    generator = torch.Generator().manual_seed(2)
    for layers, n_experts, p in ((4, 16, 0.35), (3, 8, 0.2), (2, 6, 0.5), (2, 6, 1.0)):
        scores = (
            torch.rand(layers, n_experts, generator=generator) ** 3 + 0.01
        )  # none so small that rounding decides
        scores = scores * torch.arange(1, layers + 1)[:, None]
        if p == 0.5:  # sums that reach it exactly: 8 of 16, and 5 + 3 of 16
            scores = torch.tensor([[1.0, 1, 8, 1, 1, 4], [2, 5, 2, 2, 3, 2]])
        answer = expect_answer(choose_experts(scores.clone(), p), "choose_experts' answer")
        what = f"The experts of {layers} layers with {n_experts} experts, p = {p:g}"
        is_list = isinstance(answer, (list, tuple)) and all(
            isinstance(row, (list, tuple)) for row in answer
        )
        expect_true(is_list, f"{what}: return a list with one list of numbers per layer.")
        given = [sorted(int(expert) for expert in row) for row in answer]
        within = scores / scores.sum(1, keepdim=True)
        right = _smallest(within, p)
        order = [row.argsort(descending=True).tolist() for row in within]
        pooled = _smallest(scores.flatten()[None] / scores.sum(), p)[0]
        expect_equal(
            given,
            right,
            what,
            hints={
                "the scores are not divided by their sum: p is a share of the "
                "layer's total": _smallest(scores, p),
                "you divided by the sum over the layers (down a column). A layer's shares "
                "must sum to 1, so divide by "
                "the sum over its experts": _smallest(scores / scores.sum(0, keepdim=True), p),
                "these are the experts that have p alone. It is their sum that must reach p": [
                    (row >= p).nonzero().flatten().tolist() for row in within
                ],
                "you take a share p of the experts. Want a share p of what they hold": [
                    sorted(row[: max(1, round(p * n_experts))]) for row in order
                ],
                "one expert per layer is missing: stop when the sum has reached p, not "
                "before it would": [
                    sorted(row[: len(full) - 1]) for row, full in zip(order, right, strict=True)
                ],
                "you go on where the sum is exactly p. At least p is enough": [
                    sorted(row[: int((part[row].cumsum(0) <= p + 1e-6).sum()) + 1])
                    for row, part in zip(order, within, strict=True)
                ],
                "one expert per layer too many: the one that reaches p is the last": [
                    sorted(row[: len(full) + 1]) for row, full in zip(order, right, strict=True)
                ],
                "these are places in the sorted row. Whose shares are they? `sort` gives the "
                "order as well": [list(range(len(full))) for full in right],
                "you rank the experts of all layers together. Every layer has its own share p": [
                    [e - n_experts * n for e in pooled if e // n_experts == n]
                    for n in range(layers)
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
