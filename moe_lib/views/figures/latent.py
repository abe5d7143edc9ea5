"""Pictures of chapter 08: why rotary positions cannot be absorbed, and what a new token takes."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Natural, Texts, checked
from moe_lib.views.figures.arguments import require_columns, require_numbers
from moe_lib.views.figures.seeds import curves_figure
from moe_lib.views.kit.lettering import WIDTH, plain_words


@checked
@plain_words
def turns_figure(
    turns: Mapping[int, Tensor], merged: Mapping[int, Tensor], differs: Mapping[int, float]
) -> Figure:
    """A column per distance between query and key.

    turns     (n, n) the turn that stands between them
    merged    (d_c, n) what would have to be merged into the query
    differs   by how much of its size `merged` differs from that of the first distance

    ValueError for no distance, or distances that are not the same in all three.
    """
    require(len(turns) > 0, "turns", "no distance", "at least one")
    for name, other in (("merged", merged), ("differs", differs)):
        require(list(other) == list(turns), name, list(other), f"distances {list(turns)}")
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    axes = figure.subplots(2, len(turns), squeeze=False, height_ratios=(2, 1))
    most = max(matrix.abs().max().item() for matrix in merged.values())
    rows = ((turns, 1.0, "turn", "number of q"), (merged, most, "merged", "number of c"))
    for row, (matrices, bound, name, ylabel) in zip(axes, rows, strict=True):
        for ax, (distance, matrix) in zip(row, matrices.items(), strict=True):
            looks = dict(cmap="PuOr", vmin=-bound, vmax=bound, interpolation="nearest")
            image = ax.imshow(matrix.cpu().numpy(), aspect="auto", **looks)
            ax.tick_params(labelsize=8)
            title = f"distance {distance}" if matrices is turns else f"{differs[distance]:.0%} off"
            ax.set_title(title, fontsize=9)
            ax.set_xlabel("number of key" if matrices is turns else "number of q", fontsize=8)
        row[0].set_ylabel(f"{name}\n{ylabel}", fontsize=9)
        bar = figure.colorbar(image, ax=list(row), pad=0.01, aspect=12)
        bar.ax.tick_params(labelsize=8)
        bar.set_label("entry", fontsize=8)
    return figure


@checked
def timing_figure(milliseconds: Mapping[Natural, pd.DataFrame], ways: Texts) -> Figure:
    """Time for one new token against past tokens, both axes logarithmic: a curve per way, the mean
    of its rounds, with the band that they span.

    milliseconds   past tokens -> a row per round, a column per way; NaN where a way sat a round out
    ways           the columns to draw

    ValueError for no table, or one without such a column or without a time in it.
    """
    require(len(milliseconds) > 0, "milliseconds", "no table", "at least one")
    require(len(ways) > 0, "ways", "no way", "at least one")
    for past, table in milliseconds.items():
        name = f"milliseconds[{past!r}]"
        require_columns(name, table, *ways)
        require_numbers(name, table)
        empty = [way for way in ways if table[way].isna().all()]
        require(not empty, name, f"no time of {empty}", "at least one a way")
    curves = {
        way: pd.DataFrame({past: table[way].dropna() for past, table in milliseconds.items()}).T
        for way in ways
    }
    return curves_figure(curves, "past tokens", "ms for a new token", logx=True, logy=True)
