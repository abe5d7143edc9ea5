"""What a few seeds can tell: a mean with its interval."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real

from moe_lib.errors import is_number, require, require_number


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds with its 95 % interval by Student's t; low and high are NaN for a single
    seed.

    The interval speaks of other seeds (draw of the labels, order, first weights), not of other test
    sets. half is the half of its width: the interval is mean ± half.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def interval(values: Iterable, confidence: float = 0.95) -> Interval:
    """mean ± t · s / √n, where s is the standard deviation with n − 1 and t the quantile with n − 1
    degrees of freedom.

    NaN and None are left out. With three seeds t is 4.3, and intervals are wide: that is what three
    runs can tell. Raises ValueError for a confidence outside 0 … 1, TypeError for values that are
    no numbers.
    """
    from scipy.stats import t as student  # here, because it is slow to import

    require_number("confidence", confidence, above=0, below=1)
    usable = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    require(usable, "values", values, "a list of numbers", TypeError)
    values = list(values)
    for place, value in enumerate(values):
        wants = "a finite number, NaN or None"
        fits = value is None or _is_nan(value) or is_number(value)
        require(fits, f"values[{place}]", value, wants, TypeError)
    known = [float(value) for value in values if value is not None and not _is_nan(value)]
    n, nan = len(known), math.nan
    if n == 0:
        return Interval(nan, nan, nan, 0)
    mean = sum(known) / n
    if n == 1:
        return Interval(mean, nan, nan, 1)
    spread = math.sqrt(sum((value - mean) ** 2 for value in known) / (n - 1))
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def _is_nan(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and value != value
