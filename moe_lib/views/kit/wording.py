"""Pieces of sentences that all widgets write."""


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
    """0.25 -> "25.0 %"; "< 0.1 %" for what would round to nothing."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
