"""Hide words, see what a masked language model expects there."""

from moe_lib.views.mask_playground.widget import MaskPlayground

__all__ = ["MaskPlayground"]
