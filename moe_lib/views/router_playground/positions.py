"""Where tokens and experts lie in the plane: the example, and checked coordinates."""

from moe_lib.errors import is_number, is_whole, require, require_number
from moe_lib.tracing.routing_in_the_plane import LIMIT

TEXT = "the cat sat , the dog ran , the red cat sat , the red dog ran ,"
_PLACES = {
    "the": (-1.9, 0.8),
    ",": (-1.9, -0.6),
    "cat": (1.5, 1.5),
    "dog": (2.2, 0.2),
    "sat": (0.7, -2.0),
    "ran": (1.8, -1.6),
    "red": (0.0, 2.1),
}
_STEPS = (
    (0.0, 0.0),
    (0.42, 0.24),
    (-0.3, 0.4),
    (0.3, -0.42),
)  # where the next one of the same word lies
EXPERTS = ((2.0, 0.7), (0.6, 1.9), (-1.1, 1.6), (-1.4, -1.5), (0.2, -1.6), (1.4, -0.9))


def example_tokens(words: list[str]) -> list[list[float]]:
    """Places for the words of TEXT, equal ones beside each other."""
    seen: dict[str, int] = {}
    pairs = []
    for word in words:
        (x, y), (dx, dy) = _PLACES[word], _STEPS[seen.get(word, 0)]
        seen[word] = seen.get(word, 0) + 1
        pairs.append([round(x + dx, 2), round(y + dy, 2)])
    return pairs


def coordinates(name: str, pairs) -> list[list[float]]:
    """`pairs` as lists of floats. TypeError or ValueError by this name for what is not in the
    plane."""
    wants = f"pairs of numbers from {-LIMIT:g} to {LIMIT:g}"
    pairs = pairs.tolist() if hasattr(pairs, "tolist") else pairs
    listed = isinstance(pairs, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) for pair in pairs
    )
    require(listed, name, pairs, wants, TypeError)
    good = all(
        len(pair) == 2 and all(is_number(c) and abs(c) <= LIMIT for c in pair) for pair in pairs
    )
    require(good, name, pairs, wants)
    return [[float(c) for c in pair] for pair in pairs]


def moved(name: str, pairs: list, number: int, x: float, y: float) -> list[list[float]]:
    """The pairs with another place for one of them."""
    known = is_whole(number) and 0 <= number < len(pairs)
    require(known, name, number, f"a number from 0 to {len(pairs) - 1}")
    for axis, value in (("x", x), ("y", y)):
        require_number(axis, value, at_least=-LIMIT, at_most=LIMIT)
    return [[x, y] if place == number else pair for place, pair in enumerate(pairs)]
