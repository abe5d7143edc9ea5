"""Rotary positions: pairs of numbers turned by angles that grow with the position."""

import math

from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.drawing import Drawing

_QUERY, _KEY, _GAP = 4, 5, 2
_FAST, _SLOW = 40.0, 8.0  # degrees per position, chosen to be seen

WORDS = (
    "Two rows of dials, a row for a pair of numbers, a dial for a position from 0 to 5. The hand "
    "of a dial is the pair, seen as an arrow in a plane. In the first row the hand turns by 40 "
    "degrees from each position to the next, in the second, slow one by 8 degrees; its length "
    "stays. Below, a query and a key are drawn twice, at positions 5 and 3 and at positions 3 and "
    "1: all hands stand elsewhere, and the angle that the turning puts between query and key is "
    "the same, twice the step of the pair. So the score of a query and a key knows their distance "
    "and nothing else."
)


def rotating_pairs() -> Drawing:
    """Dials of a fast and a slow pair, and one query with one key at two places, equally far."""
    draw = Canvas("rotating_pairs", "Rotary positions turn pairs of numbers", WORDS, 740, 456)
    for column in range(6):
        draw.label(222 + 96 * column, 20, f"position {column}", muted=True, size=13)
    for row, (step, name) in enumerate(
        ((_FAST, "first pair,\nturns fast"), (_SLOW, "a later pair,\nturns slowly"))
    ):
        y = 72 + 92 * row
        draw.label(8, y - 16, f"{name}\n{step:.0f}° a position", anchor="start", size=13)
        for column in range(6):
            _dial(draw, 222 + 96 * column, y, 36, [(20 + step * column, _QUERY)], 20)
    draw.label(8, 218, "dashed: where the hand stands at position 0", anchor="start", muted=True)
    draw.line((8, 236), (732, 236), stroke=1)
    draw.label(
        8,
        258,
        "the same query and key, twice, two tokens apart (first pair)",
        anchor="start",
        bold=True,
    )
    for x, query, key in ((190, 5, 3), (520, 3, 1)):
        _meeting(draw, x, 352, query, key)
    draw.label(
        370, 442, "The hands stand elsewhere; the turn between them is 2 × 40° = 80° in both."
    )
    return draw.drawing()


def _dial(draw: Canvas, x: float, y: float, radius: float, hands, zero: float) -> None:
    """A circle with hands (degrees, hue); a dashed line marks where position 0 stands."""
    draw.circle(x, y, radius)
    draw.line((x, y), _end(x, y, radius, zero), dashed=True, stroke=1.2)
    for degrees, hue in hands:
        draw.arrow((x, y), _end(x, y, radius - 3, degrees), hue=hue, stroke=2.6)


def _meeting(draw: Canvas, x: float, y: float, query: int, key: int) -> None:
    """One dial with a query's and a key's hand, both at 20 degrees before they are turned."""
    radius, turned_q, turned_k = 66, 20 + _FAST * query, 20 + _FAST * key
    draw.circle(x, y, radius)
    draw.line((x, y), _end(x, y, radius, 20), dashed=True, stroke=1.2)
    for degrees, hue in ((turned_q, _QUERY), (turned_k, _KEY)):
        draw.arrow((x, y), _end(x, y, radius - 4, degrees), hue=hue, stroke=2.8)
    draw.arc((x, y), 30, turned_k, turned_q, hue=_GAP, stroke=2.4, arrow=True)
    draw.label(x + 84, y - 22, f"query at {query}", anchor="start", hue=_QUERY, bold=True)
    draw.label(x + 84, y, f"key at {key}", anchor="start", hue=_KEY, bold=True)
    draw.label(x + 84, y + 22, "80° between", anchor="start", hue=_GAP, bold=True)


def _end(x: float, y: float, length: float, degrees: float) -> tuple[float, float]:
    angle = math.radians(degrees)
    return x + length * math.cos(angle), y - length * math.sin(angle)
