"""Checks of the exercises of chapter 00."""

import torch

from moe_course.checks.comparisons import NotYet, expect_close, expect_shape


def check_load_share(load_share):
    experts = torch.tensor([[0, 2], [0, 1], [2, 0]])
    answer = load_share(experts, 5)
    if isinstance(answer, torch.Tensor) and not answer.is_floating_point():
        raise NotYet(f"these are counts, {answer.tolist()}: divide by their sum to get shares")
    expect_close(
        answer,
        torch.tensor([3, 1, 2, 0, 0]) / 6,
        "load_share([[0, 2], [0, 1], [2, 0]], 5)",
        hints={
            "your answer sums to {sum}: did you divide the counts by their sum?": torch.tensor(
                [3.0, 1, 2, 0, 0]
            ),
            "you divided by the number of tokens: each token makes k choices, and all of "
            "them count": (torch.tensor([3, 1, 2, 0, 0]) / 3),
            "only first choices were counted: flatten `experts`, so that all k columns count": (
                torch.tensor([2, 0, 1, 0, 0]) / 3
            ),
        },
    )
    unused = load_share(torch.zeros(4, 3, dtype=torch.long), 7)
    expect_shape(unused, (7,), "the answer when six experts were never chosen")
    expect_close(
        unused,
        torch.tensor([1.0, 0, 0, 0, 0, 0, 0]),
        "the answer when all choices fall on expert 0",
    )
    return "Experts that nobody chose are counted too."


CHECKS = {"00.1": check_load_share}
