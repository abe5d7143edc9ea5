"""A race as a picture: the facts of each model, lit where it recalls them, and its recall while it
learned."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.kit.placing import spread_out
from moe_lib.views.kit.wording import percent
from moe_lib.views.phone_book.recall import COLOURS, Recall, columns_of

DASHES = ((0, (5, 2)), "solid")
DARK = "#e4e4e4"  # a fact that is not recalled


@plain_words
def race_figure(
    facts: int, sides: Sequence[Recall], curves: Mapping[str, Sequence[tuple[int, float]]]
) -> Figure:
    """Two grids of facts, and recall against steps; before a race the grids are dark."""
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    *grids, chart = figure.subplots(1, 3, width_ratios=(3, 3, 2.4))
    for place, ax in enumerate(grids):
        side = sides[place] if place < len(sides) else None
        _draw_grid(ax, facts, side, COLOURS[place])
    _draw_curves(chart, sides, curves)
    return figure


def _draw_grid(ax: Axes, facts: int, side: Recall | None, colour: str) -> None:
    columns = columns_of(facts)
    known = np.zeros(-(-facts // columns) * columns)
    if side is not None:
        known[: len(side.known)] = np.asarray(side.known, dtype=float)
    colours = ListedColormap([DARK, colour])
    ax.imshow(known.reshape(-1, columns), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title("not trained yet" if side is None else f"{side.name}: {percent(side.share)}")
    if side is not None:
        below = f"{side.bits_per_parameter:.2f} bits per parameter, {side.parameters:,} parameters"
        ax.set_xlabel(below, fontsize=8.5)


def _draw_curves(ax: Axes, sides: Sequence[Recall], curves: Mapping) -> None:
    steps = sides[0].steps if sides else 1
    heights = spread_out([side.share for side in sides], 0.1)
    for side, height, colour, dash in zip(sides, heights, COLOURS, DASHES, strict=False):
        at, share = zip(*curves[side.name], strict=True)
        ax.plot((0, *at), (0, *share), color=colour, linestyle=dash, lw=2)
        ax.text(at[-1] + 0.03 * steps, height, side.name, color=colour, va="center", fontsize=9)
    ax.set(xlim=(0, 1.45 * steps), ylim=(0, 1.05), xlabel="step", ylabel="recall")
    ax.set_xticks([0, steps] if sides else [])
    ax.set_yticks([0, 0.5, 1])
    ax.spines[["top", "right"]].set_visible(False)
