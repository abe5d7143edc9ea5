"""The block and its residual stream: two updates are read from the stream and added to it."""

from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.drawing import Drawing

_ATTENTION, _TOKEN_WISE, _NORM = 4, 0, 7

WORDS = (
    "From left to right runs a thick line, the residual stream: one vector of hidden size for "
    "each token. It begins as the embedding of the token and ends, after a last norm, at the head, "
    "which gives a score for each token of the vocabulary. One block leaves the line and comes "
    "back to it twice. First a normed copy goes through attention, the only place where a token "
    "reads other tokens, and the result is added to the line. Then a normed copy goes through "
    "SwiGLU, each token alone, and is added too. Nothing stands on the line itself: what a block "
    "does not change passes on as it is."
)


def residual_stream() -> Drawing:
    """One block of a transformer, its stream drawn as the thick line that everything adds to."""
    draw = Canvas("residual_stream", "A block and its residual stream", WORDS, 740, 300)
    stream = 215
    draw.box(112, 16, 504, 266, edge="dashed")
    draw.label(364, 34, "one block, repeated", muted=True)
    draw.line((92, stream), (652, stream), stroke=7)
    draw.label(364, stream + 28, "the residual stream: one vector for each token", bold=True)
    draw.label(364, stream + 48, "what no update changes passes on as it is", muted=True)

    embedding = draw.box(6, stream - 27, 86, 54, "embedding\nof a token", size=13)
    head = draw.box(652, stream - 27, 82, 54, "norm,\nhead", size=13)
    draw.label(embedding.middle[0], stream + 44, "in", muted=True)
    draw.label(head.middle[0], stream + 44, "a score for\neach token", muted=True, size=13)

    updates = (
        (142, "attention", "each token reads\nother tokens", _ATTENTION),
        (382, "SwiGLU", "each token\nalone", _TOKEN_WISE),
    )
    for left, name, note, hue in updates:
        norm = draw.box(left, 104, 58, 30, "norm", hue=_NORM, size=13)
        part = draw.box(left + 80, 64, 118, 84, hue=hue)
        draw.label(part.middle[0], 84, name, bold=True)
        draw.label(part.middle[0], 108, note, size=12)
        plus = draw.circle(left + 218, stream, 15, "+", size=18, bold=True, hue=hue)
        draw.arrow((norm.middle[0], stream - 4), norm.bottom, hue=_NORM)
        draw.arrow(norm.right, (part.left[0], norm.right[1]), hue=_NORM)
        draw.arrow((part.right[0], 119), (plus.middle[0], 119), plus.top, hue=hue)
    return draw.drawing()
