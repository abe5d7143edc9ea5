"""The scale of the calculator's bars: logarithmic, so that small caches are seen beside large."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10


@dataclass(frozen=True)
class LogScale:
    """From `low`, a power of ten below the smallest number that is drawn, to `high`, the largest.

    A bar's length tells its order of magnitude: every `tick` stands for ten times the one before.
    """

    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "LogScale":
        """The scale on which all positive numbers are seen, the smallest one as a bar."""
        positive = [number for number in numbers if number > 0] or [1]
        low = 10.0 ** floor(log10(min(positive)))
        if min(positive) < 2 * low:  # a bar of less than a third of a decade is a sliver
            low /= 10
        return cls(low, float(max(positive)))

    def place(self, number: float) -> float:
        """Where the number stands, 0 (low) to 1 (high); what is not positive stands at 0."""
        if number <= self.low:
            return 0.0
        return log10(number / self.low) / log10(self.high / self.low)

    @property
    def ticks(self) -> list[float]:
        """The powers of ten between low and high, both left out."""
        first, last = round(log10(self.low)) + 1, ceil(log10(self.high) - 1e-9)
        return [10.0**power for power in range(first, last)]
