"""Numbers that are none: a page is never sent NaN or infinity, for JSON has no word for them; they
are said in words."""

from collections.abc import Iterable
from math import isfinite

LOST = "no number (NaN or infinity)"


def finite(value: float | None, digits: int | None = None) -> float | None:
    """The number, rounded if `digits` are given; None for what is no finite number."""
    if value is None or not isfinite(value):
        return None
    return value if digits is None else round(value, digits)


def all_finite(values: Iterable[float]) -> bool:
    """Whether none of them is NaN or infinite."""
    return all(map(isfinite, values))
