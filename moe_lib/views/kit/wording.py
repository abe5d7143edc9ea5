"""Pieces of sentences that all widgets write."""

import unicodedata
from math import isfinite

from moe_lib.views.kit.finite import LOST

_TURNS = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}


def apart(words: str) -> str:
    """A reader's words within a sentence of ours: words that run from right to left, or that hold
    marks which turn a line, are kept from turning the sentence (Unicode's FSI … PDI)."""
    return f"\u2068{words}\u2069" if turns_lines(words) else words


def turns_lines(words: str) -> bool:
    """Whether a text holds what runs from right to left, or turns a line."""
    return any(unicodedata.bidirectional(one) in _TURNS for one in words)


def ordinal(rank: int) -> str:
    """1 -> "1st", 2 -> "2nd", 11 -> "11th"."""
    ending = (
        "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    )
    return f"{rank}{ending}"


def count(number: int, thing: str) -> str:
    """1, "token" -> "1 token"; 3, "token" -> "3 tokens"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def percent(share: float) -> str:
    """0.25 -> "25.0 %"; "< 0.1 %" for what would round to nothing; NaN is said in words."""
    if not isfinite(share):
        return LOST
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
