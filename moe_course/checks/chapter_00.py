"""Checks of the exercises of chapter 00."""

import torch

from moe_course.checks.comparisons import NotYet, expect_answer, expect_close


def check_load_share(load_share):
    experts = torch.tensor([[0, 2], [0, 1], [2, 0]])
    what, counts = "load_share([[0, 2], [0, 1], [2, 0]], 5)", torch.tensor([3.0, 1, 2, 0, 0])
    answer = expect_answer(load_share(experts.clone(), 5), what)
    if isinstance(answer, torch.Tensor) and answer.shape == (3,):
        raise NotYet(
            f"{what} has 3 entries; want 5. Where are the experts that nobody chose? See "
            "`minlength`."
        )
    if isinstance(answer, torch.Tensor) and not answer.is_floating_point():
        raise NotYet(
            f"{what} holds whole numbers, {answer.tolist()}. A share is a fraction: what do you "
            "divide by, and with `/` or with `//`?"
        )
    expect_close(
        answer,
        counts / 6,
        what,
        hints={
            "your answer sums to {sum}: did you divide the counts by their sum?": counts,
            "you divided by the number of tokens: each token makes k choices, and all of "
            "them count": counts / 3,
            "you divided by the number of experts; want the share of all choices": counts / 5,
            "these are multiples of an even split; want shares, which sum to 1": counts / 1.2,
            "only first choices were counted: flatten `experts`, so that all k columns count": (
                torch.tensor([2, 0, 1, 0, 0]) / 3
            ),
            "only last choices were counted: flatten `experts`, so that all k columns count": (
                torch.tensor([1, 1, 1, 0, 0]) / 3
            ),
            "an expert that nobody chose has a share of exactly 0. A softmax gives it more": (
                counts.softmax(0)
            ),
        },
    )
    expect_close(
        load_share(torch.tensor([[6, 4, 5], [6, 5, 4]]), 9),
        torch.tensor([0, 0, 0, 0, 2, 2, 2, 0, 0]) / 6,
        "load_share([[6, 4, 5], [6, 5, 4]], 9)",
    )
    expect_close(
        load_share(torch.zeros(4, 3, dtype=torch.long), 7),
        torch.tensor([1.0, 0, 0, 0, 0, 0, 0]),
        "the answer when all choices fall on expert 0",
    )
    return "Experts that nobody chose are counted too."


def check_worst_max_violation(worst_max_violation):
    # Loads 4 4 4 4, 4 4 7 1 and 6 2 4 4: MaxVio 0, 0.75 and 0.5. The most uneven is in the middle.
    even = [[0, 1]] * 4 + [[2, 3]] * 4
    uneven = [[2, 0]] * 4 + [[2, 1]] * 3 + [[1, 3]]
    slanted = [[0, 1]] * 2 + [[0, 2]] * 2 + [[2, 3]] * 2 + [[0, 3]] * 2
    layers = torch.tensor([even, uneven, slanted])  # (3 layers, 8 tokens, k = 2)
    load = torch.stack([torch.bincount(one.flatten(), minlength=4) for one in layers]).double()
    each = load.amax(1) / load.mean(1) - 1  # (3,)
    pooled = (load.sum(0).max() / load.sum(0).mean() - 1).item()
    first = torch.stack([torch.bincount(one[:, 0], minlength=4) for one in layers]).double()
    expect_close(
        _one_number(worst_max_violation(layers.clone(), 4), "your answer for three layers"),
        each.max(),
        f"The loads of three layers are {load.long().tolist()}; your answer",
        hints={
            "the loads of the layers are added up before the largest is found. Then two layers "
            "that each use one half of the experts look perfectly even: can an idle expert of one "
            "layer help out in another?": pooled,
            "this is the mean over the layers; want that of the most uneven one": each.mean(),
            "this is the sum over the layers; want that of the most uneven one": each.sum(),
            "this is the most even layer; want the most uneven one": each.min(),
            "this is the last layer; want the most uneven one, wherever it stands": each[-1],
            "this is the ratio to the mean load. MaxVio is what it has above 1": each.max() + 1,
            "this is a share of the choices; want the largest load over the mean load, minus 1": (
                load.max() / load[0].sum()
            ),
            "this is the distance from the largest to the smallest load; want the largest over "
            "the mean, minus 1": (load.amax(1) - load.amin(1)).max() / load.mean(),
            "only first choices are counted; all k columns count": (
                (first.amax(1) / first.mean(1)).max() - 1
            ),
            "this is the number of a layer; want its MaxVio": each.argmax(),
        },
    )
    idle = torch.tensor([[[0, 1], [1, 0]]])  # one layer of four experts, two of them never chosen
    expect_close(
        _one_number(worst_max_violation(idle, 4), "your answer with two idle experts"),
        1.0,
        "One layer, loads [2, 2, 0, 0]; your answer",
        hints={"experts that nobody chose belong to the mean too: see `minlength`": 0.0},
    )
    # Two layers, each collapsed to two experts of its own: together they look perfectly even.
    collapsed = torch.tensor([[[0, 1]] * 4, [[2, 3]] * 4])  # (2 layers, 4 tokens, k = 2)
    expect_close(
        _one_number(worst_max_violation(collapsed, 4), "your answer for two collapsed layers"),
        1.0,
        "Two layers, loads [4, 4, 0, 0] and [0, 0, 4, 4]; your answer",
    )
    return "Layers are judged one by one, so a collapse cannot hide."


def _one_number(answer, what: str) -> torch.Tensor:
    expect_answer(answer, what)
    if isinstance(answer, (list, tuple)) or getattr(answer, "ndim", 0):
        raise NotYet(f"{what} holds a value for each layer; want one number, of the most uneven.")
    return torch.as_tensor(answer, dtype=torch.float64)


CHECKS = {"00.1": check_load_share, "00.2": check_worst_max_violation}
