"""Pictures of routers: tokens and experts in the plane, and who goes where as a grid of tokens and
experts."""

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from moe_lib.tracing.routing_in_the_plane import (
    LIMIT,
    METHODS,
    N_GROUPS,
    PlaneRouting,
    PlaneSettings,
)
from moe_lib.views.kit.lettering import drawable, plain_words, shortened
from moe_lib.views.kit.palette import DARK_INK, FAINT, VERMILION, expert_colour
from moe_lib.views.router_playground.words import plane_words, region_words

_INK, _DROPPED = DARK_INK, VERMILION
_BELOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@plain_words
def playground_figure(
    result: PlaneRouting,
    settings: PlaneSettings,
    labels: list[str],
    tokens: list,
    experts: list,
    selected: int,
) -> Figure:
    """What the playground shows: the plane, the load of the experts (and devices), the weights of
    one token."""
    caption = fill(drawable(plane_words(result, settings, labels, selected)), 125)
    heights = [5.0, 0.22 * (1 + caption.count("\n"))]
    figure = Figure(figsize=(10, sum(heights) + 0.2), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=heights)
    upper = grid[0].subgridspec(1, 2, width_ratios=(5.2, 4.8))
    plane = figure.add_subplot(upper[0])
    draw_plane(plane, result, labels, tokens, experts, selected)
    plane.set_title(METHODS[settings.method].label, fontsize=11)
    plane.set_xlabel(fill(region_words(result, settings), 75), fontsize=8)
    by_device = result.per_device
    right = upper[1].subgridspec(
        3 if by_device else 2, 1, height_ratios=(3, 2, 3) if by_device else (1, 1)
    )
    _draw_expert_load(figure.add_subplot(right[0]), result)
    if by_device:
        _draw_device_load(figure.add_subplot(right[1]), result)
    _draw_token(figure.add_subplot(right[-1]), result, labels, selected)
    below = figure.add_subplot(grid[1])
    below.set_axis_off()
    below.text(0, 0.5, caption, fontsize=9, va="center", parse_math=False)
    return figure


def draw_plane(
    ax: Axes,
    result: PlaneRouting,
    labels: list[str],
    tokens: list,
    experts: list,
    selected: int | None = None,
) -> None:
    """Regions, arrows, and tokens as their words with their numbers; a cross marks a token with a
    dropped choice, a dotted edge one with no expert.

    With `selected`, lines lead from that token to its experts, dashed where the choice was dropped.
    """
    routing, n_experts = result.routing, len(experts)
    colours = [expert_colour(expert) for expert in range(n_experts)]
    if result.regions is not None:
        ax.imshow(
            result.regions.numpy(),
            cmap=ListedColormap([colour.fill for colour in colours]),
            vmin=-0.5,
            vmax=n_experts - 0.5,
            alpha=0.3,
            extent=(-LIMIT, LIMIT, -LIMIT, LIMIT),
            interpolation="nearest",
        )
        ax.add_collection(_borders(result.sets.numpy()))
    choices, kept = routing.choices(), routing.kept
    if selected is not None:
        rows = zip(
            routing.experts[selected].tolist(),
            routing.weights[selected].tolist(),
            kept[selected].tolist(),
            choices[selected].tolist(),
            strict=True,
        )
        for expert, weight, stays, chosen in rows:
            if chosen:
                ends, width = (
                    zip(tokens[selected], experts[expert], strict=True),
                    0.8 + 4 * min(1, weight),
                )
                ax.plot(
                    *ends, color=_INK, linewidth=width, linestyle="-" if stays else ":", zorder=2
                )
    for expert, (x, y) in enumerate(experts):
        fill_colour = colours[expert].fill
        ax.annotate(
            "",
            (x, y),
            (0, 0),
            zorder=3,
            arrowprops={"arrowstyle": "-", "color": _INK, "linewidth": 1.2},
        )
        ax.text(
            x,
            y,
            str(expert),
            ha="center",
            va="center",
            fontsize=9,
            weight="bold",
            zorder=4,
            color=colours[expert].text,
            bbox={"facecolor": fill_colour, "edgecolor": _INK, "boxstyle": "square,pad=0.3"},
        )
    for token, (x, y) in enumerate(tokens):
        here = choices[token]
        first = colours[int(routing.experts[token][here][0])] if here.any() else None
        ax.text(
            x,
            y,
            f"{shortened(labels[token], 6)}{str(token).translate(_BELOW)}",
            ha="center",
            va="center",
            fontsize=7.5,
            zorder=5 + 0.001 * token,
            parse_math=False,
            color=first.text if first else _INK,
            bbox={
                "boxstyle": "round,pad=0.25,rounding_size=0.7",
                "facecolor": first.fill if first else "white",
                "edgecolor": _INK,
                "linestyle": "solid" if here.any() else "dotted",
                "linewidth": 2.5 if token == selected else 0.8,
            },
        )
        if (here & ~kept[token]).any():
            ax.scatter(
                [x + 0.22],
                [y + 0.17],
                marker="X",
                s=55,
                color=_DROPPED,
                edgecolor="white",
                linewidth=0.6,
                zorder=7,
            )
    ax.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xticks=[], yticks=[])


def _borders(sets: np.ndarray) -> LineCollection:
    """Lines between neighbouring cells with another set of experts."""
    edges = np.linspace(-LIMIT, LIMIT, len(sets) + 1)
    row, column = np.nonzero(sets[:, 1:] != sets[:, :-1])
    upright = [
        ((edges[c + 1], -edges[r]), (edges[c + 1], -edges[r + 1]))
        for r, c in zip(row, column, strict=True)
    ]
    row, column = np.nonzero(sets[1:] != sets[:-1])
    level = [
        ((edges[c], -edges[r + 1]), (edges[c + 1], -edges[r + 1]))
        for r, c in zip(row, column, strict=True)
    ]
    return LineCollection(upright + level, colors=_INK, linewidths=0.6, alpha=0.5)


def _draw_expert_load(ax: Axes, result: PlaneRouting) -> None:
    routing = result.routing
    colours = [expert_colour(expert).fill for expert in range(routing.n_experts)]
    capacity = None if result.per_device else result.capacity
    _draw_bars(
        ax,
        [str(e) for e in range(routing.n_experts)],
        routing.load().numpy(),
        routing.kept_load().numpy(),
        colours,
        result.even_share,
        capacity,
    )
    ax.set_title("Load of each expert", fontsize=10, loc="left")


def _draw_device_load(ax: Axes, result: PlaneRouting) -> None:
    size = result.routing.n_experts // N_GROUPS
    names = [f"{size * d}–{size * d + size - 1}" for d in range(N_GROUPS)]
    _draw_bars(
        ax,
        names,
        result.device_load().numpy(),
        result.device_load(kept=True).numpy(),
        [FAINT] * N_GROUPS,
        result.even_share * size,
        result.capacity,
    )
    ax.set_title("Load of each device (its experts)", fontsize=10, loc="left")


def _draw_bars(
    ax: Axes, names: list[str], load, kept, colours: list[str], even: float, capacity: int | None
) -> None:
    y = np.arange(len(names))
    ax.barh(y, kept, color=colours, edgecolor=_INK, linewidth=0.6)
    ax.barh(
        y, load - kept, left=kept, color="white", edgecolor=_DROPPED, hatch="////", linewidth=0.6
    )
    if capacity is not None:
        ax.axvline(capacity, color=_DROPPED, linewidth=2.5, label="capacity")
    ax.axvline(even, color=_INK, linestyle="--", linewidth=1.2, label="even share")
    for row in y:
        lost = load[row] - kept[row]
        ax.text(
            load[row],
            row,
            f" {kept[row]}" + (f" + {lost} dropped" if lost else ""),
            va="center",
            fontsize=8,
        )
    ax.set(yticks=y, yticklabels=names, xlim=(0, max(1, load.max(), capacity or 0, even) * 1.3))
    ax.tick_params(labelsize=8)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        fontsize=8,
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.98),
        ncols=2,
        borderaxespad=0,
    )


def _draw_token(ax: Axes, result: PlaneRouting, labels: list[str], token: int) -> None:
    routing = result.routing
    scores = routing.scores[token].numpy()
    y = np.arange(len(scores))
    ax.barh(
        y,
        scores,
        height=0.7,
        color=[expert_colour(e).fill for e in y],
        edgecolor=_INK,
        linewidth=0.6,
    )
    rows = zip(
        routing.experts[token].tolist(),
        routing.weights[token].tolist(),
        routing.kept[token].tolist(),
        routing.choices()[token].tolist(),
        strict=True,
    )
    for expert, weight, stays, chosen in rows:
        if chosen:
            text = f" weight {weight:.2f}" if stays else " dropped"
            ax.text(
                scores[expert],
                expert,
                text,
                va="center",
                fontsize=8,
                color=_INK if stays else _DROPPED,
                weight="bold",
            )
    ax.set(yticks=y, xlim=(0, max(1e-6, float(scores.max())) * 1.35), xlabel="affinity")
    ax.tick_params(labelsize=8)
    ax.xaxis.label.set_size(8)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(
        f"Token {token}, “{shortened(labels[token])}”", fontsize=10, loc="left", parse_math=False
    )
