"""Pictures of chapter 11: what experts prefer, who is chosen together, when it settles, what is
missed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Finite, Natural, Positive, checked, require_tensor
from moe_lib.views.figures.arguments import require_columns, require_numbers
from moe_lib.views.kit.lettering import named, plain_words
from moe_lib.views.kit.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, SOFT_INK, VERMILION

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, SOFT_INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@checked
@plain_words
def domain_figure(
    tables: Mapping[str, pd.DataFrame],
    even: Finite,
    highest: Positive | None = None,
    label: str = "share of its tokens",
) -> Figure:
    """Tables of shares (domains, E) side by side as heat maps on one scale; its red line marks the
    even share.

    `label` says of what the numbers are shares.
    A share at or above `highest` (the largest of all tables if None) has the darkest colour.
    """
    first = _same_rows(tables)
    highest = (
        max(table.to_numpy().max() for table in tables.values()) if highest is None else highest
    )
    figure = Figure(
        figsize=(min(13.0, 2.3 + 3.1 * len(tables)), 0.9 + 0.25 * len(first)), layout="constrained"
    )
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        image = ax.imshow(table, cmap="Blues", vmin=0, vmax=highest, aspect="auto")
        _number_experts(ax, table.shape[1])
        ax.set_title(title, fontsize=10)
    axes[0].set_yticks(range(len(first)), first.index, fontsize=8)
    bar = figure.colorbar(image, ax=list(axes), label=label)
    bar.ax.axhline(even, color="red", linewidth=3)
    return figure


@checked
def domain_words(tables: Mapping[str, pd.DataFrame], even: Finite) -> str:
    """What `domain_figure` shows, in words: each domain's largest share. Errors as there."""
    _same_rows(tables)
    told = "; ".join(
        f"{title}, {domain}: expert {row.idxmax()} {row.max():.0%}"
        for title, table in tables.items()
        for domain, row in table.iterrows()
    )
    return f"Heat maps, domain by expert; an even share is {even:.1%}. Largest, {told}."


def _same_rows(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The first of the tables, which must have as many rows as the others."""
    require(len(tables) > 0, "tables", "none", "at least one table")
    first = next(iter(tables.values()))
    for title, table in tables.items():
        require_numbers(f"tables[{title!r}]", table)
        wants = f"{len(first)} rows, as the first table has"
        require(len(table) == len(first), f"tables[{title!r}]", f"{len(table)} rows", wants)
    return first


@checked
@plain_words
def interval_figure(
    shares: Mapping[str, tuple[pd.Series, pd.Series, pd.Series]], even: float
) -> Figure:
    """Shares with their intervals: name -> (share, low, high), each a Series over the same labels;
    a panel each."""
    require(len(shares) > 0, "shares", "none", "at least one panel")
    for title, (share, low, high) in shares.items():
        sizes = [len(share), len(low), len(high)]
        fits = len(set(sizes)) == 1 and sizes[0] > 0
        require(fits, f"shares[{title!r}]", sizes, "three Series of one length, not empty")
    figure = Figure(figsize=(min(11.0, 2.2 + 2.6 * len(shares)), 3.0), layout="constrained")
    axes = figure.subplots(1, len(shares), sharey=True, sharex=True, squeeze=False)[0]
    for ax, (title, (share, low, high)) in zip(axes, shares.items(), strict=True):
        rows = np.arange(len(share))
        ax.hlines(rows, low, high, color=COLOURS[0], linewidth=4, alpha=0.45)
        ax.plot(share, rows, "o", color=COLOURS[0], markersize=5)
        ax.axvline(even, color="black", linestyle="--", linewidth=1)
        ax.set_yticks(rows, share.index, fontsize=8)
        ax.set_title(title, fontsize=10)
        ax.tick_params(labelsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel("share of the domain's tokens (dashed: even)", fontsize=9)
    return figure


@checked
@plain_words
def bits_figure(bits: pd.DataFrame, title: str = "") -> Figure:
    """Bars of bits: a group per row of the table (layers), a bar per column (the case and its
    controls)."""
    require_numbers("bits", bits)
    figure = Figure(figsize=(9, 3), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / bits.shape[1]
    for number, name in enumerate(bits):
        left = np.arange(len(bits)) - 0.4 + (number + 0.5) * width
        bars = ax.bar(
            left,
            bits[name],
            width * 0.92,
            label=named(str(name)),
            color=COLOURS[number % len(COLOURS)],
            hatch=("", "//", "..", "xx")[number % 4],
            edgecolor="white",
            linewidth=0,
        )
        ax.bar_label(bars, fmt="%.2f", fontsize=7)
    ax.set_xticks(range(len(bits)), bits.index)
    ax.margins(y=0.12)  # room for the numbers on top
    ax.set(ylabel="bits", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, loc="outside right upper")
    return figure


@checked
@plain_words
def coactivation_figure(tables: Mapping[str, Tensor]) -> Figure:
    """Tables N_ij / N_i (E, E) side by side as heat maps on one scale; the diagonal, always 1, is
    left white."""
    require(len(tables) > 0, "tables", "none", "at least one table")
    for title, table in tables.items():
        require_tensor(f"tables[{title!r}]", table, ("E", "E"), "floating")
        require(len(table) > 1, f"tables[{title!r}]", tuple(table.shape), "two experts or more")
    away = {
        title: table.masked_fill(_diagonal(table), float("nan")).numpy()
        for title, table in tables.items()
    }
    highest = max(np.nanmax(table) for table in away.values())
    figure = Figure(figsize=(min(12.0, 1.2 + 3.3 * len(tables)), 3.4), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for ax, (title, table) in zip(axes, away.items(), strict=True):
        image = ax.imshow(table, cmap="Blues", vmin=0, vmax=highest)
        _number_experts(ax, table.shape[1])
        ax.set_yticks(ax.get_xticks())
        ax.tick_params(labelsize=7)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("… this share also chose expert j")
    axes[0].set_ylabel("of the tokens of expert i …")
    figure.colorbar(image, ax=list(axes), label="N_ij / N_i")
    return figure


@checked
@plain_words
def saturation_figure(
    steps: list[Natural], found: Tensor, chance: Tensor, layers: list[Natural]
) -> Figure:
    """Overlap with the last checkpoint against training steps: found and chance (checkpoints,
    layers)."""
    require(len(steps) > 0, "steps", steps, "at least one")
    for name, table in (("found", found), ("chance", chance)):
        require_tensor(name, table, (len(steps), len(layers)), "floating")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    ax = figure.subplots()
    for number, layer in enumerate(layers):
        colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        ax.plot(steps, found[:, number], marker=marker, color=colour, label=f"layer {layer}")
        dotted = dict(color=colour, linestyle=":", linewidth=1.2, marker=marker, markersize=4)
        ax.plot(steps, chance[:, number], markerfacecolor="none", **dotted)
    ax.plot([], [], color="black", linestyle=":", label="by chance, at the loads of both")
    ax.set_xscale("symlog", linthresh=max(1, sorted(steps)[1] if len(steps) > 1 else 1))
    told = _apart(steps)
    ax.set_xticks(told, [str(int(step)) for step in told], fontsize=8)
    ax.minorticks_off()
    ax.set(xlabel="training step (log scale)", ylabel="share of the final experts", ylim=(0, 1.03))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8)
    return figure


@checked
@plain_words
def ablation_figure(rises: pd.DataFrame, random: pd.DataFrame) -> Figure:
    """Left: whose experts are off (rows), whose loss rises (columns), in nats per token, as numbers
    on a heat map. Right: the diagonal beside as many experts drawn at random; random (draws,
    domains)."""
    require_numbers("rises", rises)
    names = list(rises.columns)
    require(names == list(rises.index), "rises", list(rises.index), f"rows {names}, as its columns")
    require_columns("random", random, *names)
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    top = float(np.abs(rises.to_numpy()).max())
    image = left.imshow(rises, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto")
    for row in range(rises.shape[0]):
        for column in range(rises.shape[1]):
            value = rises.iat[row, column]
            left.text(
                column,
                row,
                f"{value:.2f}".replace("-0.00", "0.00"),
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if abs(value) > 0.6 * top else "black",
            )
    left.set_xticks(range(rises.shape[1]), rises.columns, rotation=35, ha="right", fontsize=8)
    left.set_yticks(range(rises.shape[0]), rises.index, fontsize=8)
    left.set(xlabel="loss on", ylabel="off: the experts used most by")
    figure.colorbar(image, ax=left, label="rise, nats per token")
    rows = np.arange(rises.shape[1])
    right.hlines(
        rows,
        random.min(),
        random.max(),
        color=GREY,
        linewidth=5,
        label="random experts, all draws",
    )
    right.plot(random.mean(), rows, "|", color="black", markersize=10, label="their mean")
    right.plot(
        [rises.loc[name, name] for name in rises], rows, "o", color=COLOURS[1], label="its own"
    )
    right.set_yticks(rows, rises.columns, fontsize=8)
    right.invert_yaxis()
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel("rise of the loss on the domain, nats per token")
    right.legend(fontsize=8)
    return figure


@checked
@plain_words
def importance_figure(
    panels: Mapping[str, tuple[Tensor, Tensor]], layers: list[Natural], xlabel: str
) -> Figure:
    """Scatter of use against what is lost: title -> (use, rise), each (layers, E); colour and
    marker by layer."""
    require(len(panels) > 0, "panels", "none", "at least one panel")
    for title, pair in panels.items():
        for table in pair:
            require_tensor(f"panels[{title!r}]", table, (len(layers), "E"))
        sizes = [tuple(table.shape) for table in pair]
        require(sizes[0] == sizes[1], f"panels[{title!r}]", sizes, "two tensors of one shape")
    figure = Figure(figsize=(min(11.0, 1 + 3.4 * len(panels)), 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, (use, rise)) in zip(axes, panels.items(), strict=True):
        for number, layer in enumerate(layers):
            ax.plot(
                use[number],
                rise[number],
                _MARKERS[number % len(_MARKERS)],
                markersize=6,
                alpha=0.8,
                color=COLOURS[number % len(COLOURS)],
                label=f"layer {layer}",
            )
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel(xlabel)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("rise of the loss without it,\nnats per token")
    axes[0].legend(fontsize=8)
    return figure


def _apart(steps: list[int]) -> list[int]:
    """The steps whose numbers stand apart on a log scale: the last one, and back from there."""
    told: list[int] = []
    for step in sorted(steps, reverse=True):
        if not told or told[-1] >= 1.3 * step:
            told.append(step)
    return told[::-1]


def _number_experts(ax: Axes, n_experts: int) -> None:
    ax.set_xticks(range(0, n_experts, max(1, n_experts // 8)))
    ax.tick_params(labelsize=8)
    ax.set_xlabel("expert")


def _diagonal(table: Tensor) -> Tensor:
    return table.new_ones(table.shape).diag().diag().bool()
