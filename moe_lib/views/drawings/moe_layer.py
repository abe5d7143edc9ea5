"""One layer of experts, and the way of one token through it."""

from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.drawing import Drawing
from moe_lib.views.drawings.shapes import Box

_SHARED = 6  # its hue
_LONG = 240  # pixels of a score of 1
SCORES = (0.05, 0.31, 0.06, 0.12, 0.24, 0.09, 0.05, 0.08)  # softmax, sum 1
_CHOSEN = {1: 4, 4: 5}  # expert -> its hue

WORDS = (
    "From left to right: a token enters the layer as a vector. The router, a matrix with a row for "
    "each of 8 experts, gives every expert a score: "
    + ", ".join(f"expert {e} {score:.2f}" for e, score in enumerate(SCORES))
    + ". The two largest are chosen, experts 1 and 4. Thick arrows lead from the token to these "
    "two and to a shared expert, which every token passes without a choice; the other six experts "
    "are dashed and compute nothing for this token. Expert 1's answer is multiplied by its weight "
    "0.31, expert 4's by 0.24. A sum of these two and of the shared expert's answer leaves the "
    "layer."
)


def moe_layer() -> Drawing:
    """A router's scores, the two experts it chooses, their weights, a shared expert, the sum."""
    draw = Canvas("moe_layer", "A layer of experts, and one token's way", WORDS, 750, 470)
    token = draw.box(8, 226, 78, 44, "token\nx", size=13, bold=True)
    router = draw.box(8, 76, 78, 60, "router\n8 rows", size=13)
    draw.arrow(token.top, router.bottom)
    heads = ((192, "scores, softmax(W x)"), (352, "experts"), (506, "weights"), (640, "sum"))
    for x, name in heads:
        draw.label(x, 18, name, bold=True)
    total = draw.circle(640, _row(4), 22, "+", size=20, bold=True)
    bus = 262  # where the token's vector is handed to those that compute
    bars = [_score(draw, e, score) for e, score in enumerate(SCORES)]
    draw.arrow(router.right, (128, router.right[1]))
    for e in range(len(SCORES)):
        hue = _CHOSEN.get(e)
        looks = dict(edge="dashed") if hue is None else dict(hue=hue, bold=True)
        expert = draw.box(304, _row(e) - 15, 96, 30, f"expert {e}", size=13, **looks)
        if hue is not None:
            _way(draw, expert, bus, bars[e], total, hue)
    shared = draw.box(304, 412, 96, 40, "shared\nexpert", hue=_SHARED, size=13)
    draw.line(token.right, (bus, token.right[1]), stroke=3)
    draw.line((bus, _row(1)), (bus, 432), stroke=3)
    draw.arrow((bus, 432), shared.left, hue=_SHARED, stroke=3)
    draw.arrow(shared.right, (640, 432), total.bottom, hue=_SHARED, stroke=3)
    draw.label(506, 452, "no weight: every token passes it", size=12, muted=True)
    output = draw.box(680, 204, 62, 44, "output\ny", size=13, bold=True)
    draw.arrow(total.right, output.left, stroke=3)
    draw.label(150, 432, "dashed: not chosen,\nnothing is computed", size=12, muted=True)
    return draw.drawing()


def _row(expert: int) -> float:
    """The height of an expert's row, its middle."""
    return 50 + 44 * expert


def _score(draw: Canvas, expert: int, score: float) -> Box:
    """The score as a bar with its number."""
    y, hue = _row(expert), _CHOSEN.get(expert)
    bar = draw.box(132, y - 9, _LONG * score, 18, hue=hue)
    chosen = dict(bold=True, hue=hue) if hue is not None else dict(muted=True)
    draw.label(bar.right[0] + 6, y, f"{score:.2f}", anchor="start", size=12, **chosen)
    return bar


def _way(draw: Canvas, expert: Box, bus: float, bar: Box, total: Box, hue: int) -> None:
    """From the token's vector through a chosen expert and its weight into the sum."""
    y = expert.left[1]
    draw.arrow((bus, y), expert.left, hue=hue, stroke=3)
    number = next(score for score in SCORES if abs(bar.width - _LONG * score) < 1e-9)
    weight = draw.box(472, y - 14, 68, 28, f"× {number:.2f}", hue=hue, size=13, bold=True)
    draw.arrow(expert.right, weight.left, hue=hue, stroke=3)
    level = y == total.middle[1]
    corner = [total.left] if level else [(total.middle[0], y), total.top]
    draw.arrow(weight.right, *corner, hue=hue, stroke=3)
