"""Results with a value per seed: dots in rows, and curves with the band that the seeds span."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.errors import require
from moe_lib.intervals import interval
from moe_lib.validation import Flag, Natural, checked
from moe_lib.views.figures.arguments import require_numbers
from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.kit.palette import BLUE, HUES, SOFT_INK
from moe_lib.views.kit.placing import spread_out

GREY = SOFT_INK
COLOURS = (HUES[4], HUES[5], HUES[2], HUES[6], GREY, "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_FEW = 8  # places that can be named one by one


@checked
@plain_words
def dots_figure(
    rows: Mapping[str, Sequence[float]],
    xlabel: str,
    *,
    hollow: Collection[str] = (),
    intervals: Flag = False,
    zero: Flag = False,
    digits: Natural = 2,
) -> Figure:
    """A row per name: a dot per seed, and the mean in figures at the right.

    hollow      names whose dots are rings: controls, say; some may have no row yet, in a picture
                that grows
    intervals   draw the mean with its 95 % interval (Student's t) as well, and write both
    zero        draw a line at 0
    digits      of the numbers

    ValueError for no row, or a row without a value.
    """
    require(len(rows) > 0, "rows", "no row", "at least one")
    for name, values in rows.items():
        require(len(values) > 0, f"rows[{name!r}]", "no value", "at least one, a value per seed")
    figure = Figure(figsize=(WIDTH, 0.75 + 0.29 * len(rows)), layout="constrained")
    ax = figure.subplots()
    for row, (name, values) in enumerate(rows.items()):
        face = "none" if name in hollow else BLUE
        ax.plot(values, [row] * len(values), "o", color=BLUE, mfc=face, ms=6, alpha=0.85)
        said = f"{np.mean(values):.{digits}f}"
        if intervals:
            found = interval(list(values))
            ax.errorbar(found.mean, row, xerr=found.half, color="black", marker="|", capsize=4)
            said = f"{found.mean:+.{digits}f} ± {found.half:.{digits}f}"
        ax.annotate(said, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    if zero:
        ax.axvline(0, color="black", lw=1, ls=":")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@checked
@plain_words
def curves_figure(
    curves: Mapping[str, pd.DataFrame],
    xlabel: str,
    ylabel: str,
    *,
    logx: Flag = False,
    logy: Flag = False,
    zero: Flag = False,
) -> Figure:
    """A line per name: the mean over seeds, with the band that the seeds span, and its name at its
    end.

    curves   per name a table: a row per place on the x axis, which is its index, a column per seed
    logx, logy   logarithmic axes
    zero     draw a line at 0

    ValueError for no curve, or a table without rows.
    """
    require(0 < len(curves) <= len(COLOURS), "curves", len(curves), f"1 to {len(COLOURS)} curves")
    for name, table in curves.items():
        require_numbers(f"curves[{name!r}]", table)
        positive = not logy or float(table.min().min()) >= 0
        require(positive, f"curves[{name!r}]", "numbers below 0", "larger ones with logy")
        positive = not logx or float(min(table.index)) >= 0
        require(positive, f"curves[{name!r}]", "places below 0", "larger ones with logx")
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    ax = figure.subplots()
    looks = zip(curves.items(), COLOURS, MARKERS, STYLES, strict=False)
    for (_, table), colour, marker, style in looks:
        mean, x = table.mean(axis=1), table.index
        many = dict(markevery=max(1, len(x) // 12)) if len(x) > 15 else {}
        ax.plot(x, mean, color=colour, marker=marker, ls=style, ms=5, **many)
        ax.fill_between(x, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.18, lw=0)
    if zero:
        ax.axhline(0, color="black", lw=1, ls=":")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xscale("log" if logx else "linear")
    if logx and len(x) <= _FEW:  # the places themselves, for powers of ten lie elsewhere
        ax.set_xticks(x, [f"{place:,}" for place in x])
        ax.minorticks_off()
    ax.set_yscale("log" if logy else "linear")
    ax.spines[["top", "right"]].set_visible(False)
    _name_ends(ax, curves)
    return figure


def _name_ends(ax: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """The names of the curves at the right, in the order of their ends and none upon another."""
    ends = [(table.index[-1], table.iloc[-1].mean()) for table in curves.values()]
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ends))[:, 1]
    for name, height, colour in zip(curves, spread_out(heights, 0.075), COLOURS, strict=False):
        style = dict(color=colour, va="center", fontsize=9.5, fontweight="bold")
        ax.annotate(name, (1.01, height), xycoords="axes fraction", **style)
