"""A drawing as a PNG on a light ground, where an SVG is not shown."""

from functools import singledispatch
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon

from moe_lib.errors import require_whole
from moe_lib.views.drawings.as_svg import EDGE, FILL, WORD
from moe_lib.views.drawings.shapes import LINE, Box, Label, Line
from moe_lib.views.kit.palette import HUES, mix

INK, GROUND = "#1f1f1f", "#ffffff"
PIXELS = 100  # to the inch
_POINTS = 72 / PIXELS  # of a pixel


def png_of(drawing, dpi: int) -> bytes:
    """The PNG; `dpi` 100 gives one pixel of the picture for one of the drawing."""
    require_whole("dpi", dpi, at_least=10, at_most=1200)
    figure = Figure(figsize=(drawing.width / PIXELS, drawing.height / PIXELS))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    ax.set_axis_off()
    for order, shape in enumerate(drawing.shapes):
        _draw(shape, ax, order)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=GROUND, metadata={"Software": None})
    return buffer.getvalue()


@singledispatch
def _draw(shape, ax: Axes, order: int) -> None:
    raise TypeError(f"shape: got {type(shape).__name__}; wants a Box, Line or Label")


@_draw.register
def _(box: Box, ax: Axes, order: int) -> None:
    hue = None if box.hue is None else HUES[box.hue]
    looks = {
        "facecolor": mix(INK, GROUND, 0.94) if hue is None else mix(hue, GROUND, 1 - FILL / 100),
        "edgecolor": mix(INK, GROUND, 0.45) if hue is None else mix(hue, INK, 1 - EDGE / 100),
        "linestyle": "--" if box.edge == "dashed" else "-",
        "linewidth": 0 if box.edge == "none" else 1.5 * _POINTS,
        "hatch": "////" if box.hatched else None,
        "zorder": order,
    }
    if box.circle:
        ax.add_patch(Ellipse(box.middle, box.width, box.height, **looks))
    else:
        corner = f"round,pad=0,rounding_size={min(5, box.height / 4)}"
        ax.add_patch(FancyBboxPatch((box.x, box.y), box.width, box.height, corner, **looks))
    if box.text:
        x, y = box.middle
        first = y - box.text.count("\n") * box.size * LINE / 2
        _write(ax, x, first, box, "center", INK, order)


@_draw.register
def _(line: Line, ax: Axes, order: int) -> None:
    colour = INK if line.hue is None else mix(HUES[line.hue], INK, 1 - EDGE / 100)
    xs, ys = zip(*line.shaft(), strict=True)
    style, width = "--" if line.dashed else "-", line.stroke * _POINTS
    ax.add_line(Line2D(xs, ys, color=colour, linestyle=style, linewidth=width, zorder=order))
    if line.arrow:
        ax.add_patch(Polygon(line.head(), facecolor=colour, edgecolor="none", zorder=order))


@_draw.register
def _(label: Label, ax: Axes, order: int) -> None:
    colour = mix(INK, GROUND, 0.28) if label.muted else INK
    if label.hue is not None:
        colour = mix(HUES[label.hue], INK, 1 - WORD / 100)
    anchor = {"start": "left", "middle": "center", "end": "right"}[label.anchor]
    _write(ax, label.x, label.y, label, anchor, colour, order)


def _write(ax: Axes, x: float, y: float, shape: Box | Label, anchor: str, colour: str, order: int):
    for n, line in enumerate(shape.text.split("\n")):
        ax.text(
            x,
            y + n * shape.size * LINE,
            line,
            ha=anchor,
            va="center_baseline",
            color=colour,
            fontsize=shape.size * _POINTS,
            fontweight="bold" if shape.bold else "normal",
            family="DejaVu Sans Mono" if shape.mono else "DejaVu Sans",
            parse_math=False,
            zorder=order + 0.5,
        )
