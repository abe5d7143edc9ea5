"""How a wrong answer to an exercise is tried: the check refuses it, with the hint that fits."""

import re

import pytest
import torch

from moe_course import check


def cases(wrong: dict):
    """A test runs once for each {name: (answer, what the hint must say)}."""
    return pytest.mark.parametrize(
        "answer, hint", [pytest.param(*case, id=name) for name, case in wrong.items()]
    )


def refused(exercise: str, answer, hint: str) -> None:
    torch.manual_seed(0)
    verdict = check(exercise, answer)
    assert not verdict.passed, verdict  # an answer of None counts as not attempted
    assert "Your code stopped" not in verdict.message
    assert re.search(hint, verdict.message), verdict.message
