"""What generation keeps in memory, for four kinds of attention."""

from moe_lib.views.cache_calculator.widget import CacheCalculator

__all__ = ["CacheCalculator"]
