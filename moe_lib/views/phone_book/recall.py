"""The record that a race sends: what a model knows of a book of facts at one moment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moe_lib.views.kit.palette import BLUE, VERMILION

COLOURS = (BLUE, VERMILION)  # of the two models: 3:1 or more on light and on dark ground


@dataclass(frozen=True)
class Recall:
    """One model after `step` of `steps`.

    name                what it is called: "dense", "8 experts"
    known               a bool per fact, in the book's order: is it recalled?
    bits_per_parameter  bits about the facts that it holds, over all its parameters
    parameters, active  all of them, and those that one token uses
    """

    name: str
    step: int
    steps: int
    known: Sequence[bool]
    bits_per_parameter: float
    parameters: int
    active: int

    @property
    def share(self) -> float:
        """Facts recalled over facts, 0 to 1."""
        return sum(map(bool, self.known)) / len(self.known)


def columns_of(facts: int) -> int:
    """Columns of a grid of facts: a square, or twice as wide as high."""
    return 2 ** math.ceil(math.log2(facts) / 2)
