"""What a smaller model costs: size, loss and choices of pruned, merged and quantised models."""

from moe_lib.views.compression.compression_case import CompressionCase
from moe_lib.views.compression.widget import CompressionComparator

__all__ = ["CompressionCase", "CompressionComparator"]
