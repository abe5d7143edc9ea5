"""Hugging Face transformers' DeepSeek-V2, in both directions: its weights in our model, ours in its
format."""

from moe_lib.interop.exporting import save_transformers
from moe_lib.interop.importing import from_transformers

__all__ = ["from_transformers", "save_transformers"]
