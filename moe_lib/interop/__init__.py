"""Hugging Face transformers' DeepSeek-V2, in both directions: its weights in our model, ours in its format."""

from moe_lib.interop.reading import from_transformers
from moe_lib.interop.writing import save_transformers

__all__ = ["from_transformers", "save_transformers"]
