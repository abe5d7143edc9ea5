"""The latent cache: what four kinds of attention keep of a token, and how a query reads latents."""

from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.drawing import Drawing
from moe_lib.views.drawings.shapes import Box

_KEY, _VALUE, _LATENT, _TURNED = 5, 2, 4, 6  # hues
_AREA = 0.8  # square pixels for a number that is kept
_HEADS, _WIDTH, _GROUPS, _RANK, _ROTARY = 128, 128, 8, 512, 64  # DeepSeek-V2's sizes

WORDS = (
    "Above, what is kept of one past token in one layer of DeepSeek-V2's size, areas to scale. "
    "Multi-head attention keeps the keys and the values of 128 heads, 32,768 numbers, a large "
    "square in two halves. Eight groups keep 2,048, a small square. One group keeps 256, a dot. "
    "Latent attention keeps a latent of 512 numbers and a strip, the rotary key of 64: 576 "
    "numbers. Below, how one head reads them. Its query of 128 numbers is carried by its matrix "
    "W_UK, turned over, into the space of the latents: 512 numbers. There it meets the kept "
    "latents of all past tokens as they are. Beside them its rotary query of 64 meets their rotary "
    "keys. Both give the scores, and the softmax of them mixes the same latents. The head's matrix "
    "W_UV brings the mix back to 128 numbers. No key and no value of a past token is made."
)


def latent_cache() -> Drawing:
    """Kept numbers to scale for four kinds of attention; the way of a query through latents."""
    draw = Canvas("latent_cache", "What latent attention keeps, and reads", WORDS, 750, 430)
    title = "kept of one past token in one layer of DeepSeek-V2's size, areas to scale"
    draw.label(8, 16, title, anchor="start", bold=True)
    _kept(draw)
    draw.line((8, 216), (742, 216), stroke=1)
    draw.label(8, 236, "how one head reads it, without making a key", anchor="start", bold=True)
    _read(draw)
    return draw.drawing()


def _kept(draw: Canvas) -> None:
    """MHA, GQA, MQA and MLA: squares whose areas are the numbers that are kept."""
    foot, side = 176, (2 * _HEADS * _WIDTH * _AREA) ** 0.5
    top = foot - side + 16
    keys, values = f"keys of\n{_HEADS} heads", f"values of\n{_HEADS} heads"
    draw.box(8, top, side, side / 2, keys, hue=_KEY, size=13)
    draw.box(8, top + side / 2, side, side / 2, values, hue=_VALUE, size=13)
    draw.label(8, 204, f"MHA: {2 * _HEADS * _WIDTH:,} numbers", anchor="start", size=13)
    for x, name, groups in ((230, f"GQA, {_GROUPS} groups", _GROUPS), (420, "MQA", 1)):
        side = (2 * groups * _WIDTH * _AREA) ** 0.5
        draw.box(x, foot - side, side, side / 2, hue=_KEY)
        draw.box(x, foot - side / 2, side, side / 2, hue=_VALUE)
        said = f"{name}: {2 * groups * _WIDTH:,}"
        draw.label(x, 204, said, anchor="start", size=13)
    side = (_RANK * _AREA) ** 0.5
    strip = _ROTARY * _AREA / side
    latent = draw.box(560, foot - side - strip, side, side, hue=_LATENT)
    draw.box(560, foot - strip, side, strip, hue=_TURNED)
    draw.label(594, latent.middle[1] - 9, f"latent, {_RANK}", anchor="start", hue=_LATENT, size=13)
    said = f"rotary key, {_ROTARY}"
    draw.label(594, foot - 1, said, anchor="start", hue=_TURNED, size=13)
    draw.label(560, 204, f"MLA: {_RANK + _ROTARY}", anchor="start", size=13, bold=True)


def _read(draw: Canvas) -> None:
    """From a query over the carried query and the kept latents to the head's answer."""
    y, below = 300, 396
    query = draw.box(8, y - 24, 70, 48, f"query\n{_WIDTH}", size=13)
    carried = draw.box(172, y - 24, 78, 48, f"carried\n{_RANK}", hue=_LATENT, size=13)
    _step(draw, query, carried, "W_UKᵀ")
    turned = draw.box(8, below - 24, 96, 48, f"rotary part\n{_ROTARY}", hue=_TURNED, size=13)
    latents = _row(draw, 316, y, "c", _LATENT)
    keys = _row(draw, 316, below, "k", _TURNED)
    draw.label(385, 262, "kept, as they are", size=12, muted=True)
    draw.arrow(carried.right, latents.left)
    draw.arrow(turned.right, keys.left)
    draw.label(200, below - 14, "turned by its position", size=12, muted=True)
    weights = draw.box(484, below - 24, 84, 48, "scores,\nsoftmax", size=13)
    mix = draw.box(520, y - 24, 64, 48, f"mix\n{_RANK}", hue=_LATENT, size=13)
    draw.arrow(keys.right, weights.left)
    draw.line((448, latents.bottom[1]), (448, 360))
    draw.arrow((448, 360), (500, 360), (500, weights.top[1]))
    draw.arrow(latents.right, mix.left)
    draw.arrow((552, weights.top[1]), mix.bottom)
    answer = draw.box(672, y - 24, 70, 48, f"answer\n{_WIDTH}", size=13)
    _step(draw, mix, answer, "W_UV")


def _row(draw: Canvas, x: float, y: float, name: str, hue: int) -> Box:
    """What is kept of four past tokens, in a frame."""
    frame = draw.box(x, y - 26, 144, 52, edge="dashed")
    for token in range(4):
        draw.box(x + 8 + 33 * token, y - 18, 29, 36, f"{name}{token + 1}", hue=hue, size=12)
    return frame


def _step(draw: Canvas, start: Box, end: Box, name: str) -> None:
    """An arrow with the name of the matrix that it stands for above it."""
    draw.arrow(start.right, end.left)
    draw.label((start.right[0] + end.left[0]) / 2, start.middle[1] - 14, name, size=12)
