"""What adapters and quantisation touched of a model, and what that did to its routing."""

from moe_lib.tracing.coverage.changes import (
    changed_by_adapter,
    changed_choices,
    changed_words,
)
from moe_lib.tracing.coverage.counting import Coverage, KindCoverage, coverage
from moe_lib.tracing.coverage.kinds import KINDS

__all__ = [
    "KINDS",
    "Coverage",
    "KindCoverage",
    "changed_by_adapter",
    "changed_choices",
    "changed_words",
    "coverage",
]
