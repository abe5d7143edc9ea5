"""Where labels go in pictures."""

from collections.abc import Sequence

import numpy as np


def spread_out(heights: Sequence[float], gap: float) -> np.ndarray:
    """The heights moved as little as needed for neighbours to be `gap` apart."""
    placed = np.array(heights, dtype=float)
    for _ in range(200):
        order = np.argsort(placed, kind="stable")
        near = np.diff(placed[order]) < gap - 1e-9
        if not near.any():
            break
        for low, high, close in zip(order, order[1:], near, strict=False):
            if close:
                lack = (gap - (placed[high] - placed[low])) / 2
                placed[low] -= lack
                placed[high] += lack
    return placed
