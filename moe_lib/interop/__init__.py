"""Hugging Face transformers: its DeepSeek-V2 in both directions (its weights in our model, ours in
its format), and its dense models upcycled into mixtures of experts."""

from moe_lib.interop.exporting import save_transformers
from moe_lib.interop.importing import from_transformers
from moe_lib.interop.upcycled_files import open_upcycled, save_upcycled
from moe_lib.interop.upcycling import UpcycledBalance, upcycle_transformers

__all__ = [
    "UpcycledBalance",
    "from_transformers",
    "open_upcycled",
    "save_transformers",
    "save_upcycled",
    "upcycle_transformers",
]
