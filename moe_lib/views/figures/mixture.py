"""Pictures of chapter 04: who is chosen on a plane, and what a batch reads."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Count, checked, require_tensor
from moe_lib.views.figures.arguments import require_numbers
from moe_lib.views.figures.preferences import COLOURS
from moe_lib.views.kit.lettering import WIDTH, named, plain_words
from moe_lib.views.kit.palette import expert_colour

_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", ":")
_FEWEST = 0.02  # share of the tokens an expert needs for a number in the picture
_TOGETHER = 0.9  # an expert's tokens lie on one side: its middle is that far from the origin


@checked
@plain_words
def plane_figure(points: Tensor, frames: Mapping[str, Tensor]) -> Figure:
    """Tokens on a plane, by colour, mark and number of their expert: a panel per frame. Dashed
    lines part the plane where either coordinate is 0.

    points  (tokens, 2)
    frames  title -> each token's expert, (tokens,) int64
    """
    require_tensor("points", points, ("tokens", 2), "floating", finite=True)
    require(len(frames) > 0, "frames", "none", "at least one")
    for title, experts in frames.items():
        require_tensor(f"frames[{title!r}]", experts, (len(points),), "whole", low=0)
    places = points.detach().cpu().numpy()
    figure = Figure(figsize=(WIDTH, 1.1 + WIDTH / max(len(frames), 3)), layout="constrained")
    axes = figure.subplots(1, len(frames), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, experts) in zip(axes, frames.items(), strict=True):
        _draw_plane(ax, places, experts.cpu().numpy())
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("hidden direction 1")
    axes[0].set_ylabel("hidden direction 2")
    seen = sorted({int(expert) for experts in frames.values() for expert in experts.unique()})
    handles = [Line2D([], [], linestyle="", label=f"expert {e}", **_mark(e)) for e in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=9, frameon=False)
    return figure


def _draw_plane(ax: Axes, places: np.ndarray, experts: np.ndarray) -> None:
    reach = 3.2
    for expert in np.unique(experts):
        own = places[experts == expert]
        ax.plot(*own.T, linestyle="", **_mark(int(expert), 3.6, 0.2))
        middle = own.mean(0)
        if len(own) >= _FEWEST * len(places) and np.linalg.norm(middle) > _TOGETHER:
            box = dict(boxstyle="round,pad=0.2", facecolor="white", edgecolor="black", lw=0.6)
            middle = middle * 1.5  # further out, where fewer tokens are hidden
            ax.text(*middle, str(expert), ha="center", va="center", fontsize=9, bbox=box)
    ax.axhline(0, color="black", linestyle="--", linewidth=0.8)
    ax.axvline(0, color="black", linestyle="--", linewidth=0.8)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=(), yticks=())


def _mark(expert: int, size: float = 7, edge: float = 0.4) -> dict:
    return dict(
        markersize=size,
        marker=_MARKERS[expert % len(_MARKERS)],
        color=expert_colour(expert).fill,
        markeredgecolor="black",
        markeredgewidth=edge,
    )


@checked
@plain_words
def batch_reads_figure(
    touched: pd.DataFrame, n_experts: Count, reads: pd.DataFrame, formula: Sequence[float]
) -> Figure:
    """Left: by how much a formula exceeds the experts that a batch really touches. Right: weights
    that one step reads, over those of a dense model.

    touched  (batch sizes, cases) mean number of experts; formula: the same by the formula
    reads    (batch sizes, models) times the dense model's
    """
    require_numbers("touched", touched)
    require_numbers("reads", reads)
    wants = f"{len(touched)} numbers, one for each row of touched"
    require(len(formula) == len(touched), "formula", len(formula), wants)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    fewer = touched.rsub(list(formula), axis=0)
    for ax, table in ((left, fewer), (right, reads)):
        for number, name in enumerate(table):
            look = dict(marker=_MARKERS[number], linestyle=_LINES[number % len(_LINES)])
            ax.plot(table.index, table[name], color=COLOURS[number], label=named(str(name)), **look)
        ax.set_xscale("log", base=2)
        ticks = list(table.index)[:: 2 if len(table) < 9 else 3]
        ax.set_xticks(ticks, ticks)
        ax.set_xlabel("tokens in the batch")
        ax.grid(alpha=0.3)
    left.axhline(0, color="grey", linestyle=":")
    left.set(ylabel=f"formula - counted, experts of {n_experts}")
    left.set_title("a small trained model: fewer experts than by the formula", fontsize=10)
    left.set_ylim(top=1.4 * max(0.1, fewer.max(axis=None)))  # room for the names
    left.legend(loc="upper right", fontsize=9)
    right.legend(loc="center right", fontsize=9)
    right.axhline(1, color="grey", linestyle=":")
    right.set(ylabel="weights read, times dense", ylim=(0, None))
    right.set_title("one step, by the formula", fontsize=10)
    return figure
