"""Stored runs of several methods, to choose from and read with their intervals."""

from moe_lib.views.tuning_comparator.widget import TuningComparator

__all__ = ["TuningComparator"]
