"""Balance over a training run as a matplotlib figure; runs stand side by side with the same
axes."""

from collections.abc import Sequence
from math import isfinite
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from moe_lib.errors import require
from moe_lib.training.recorder import BalanceRecorder
from moe_lib.validation import checked
from moe_lib.views.balance_dashboard.payload import (
    LAYER_LINES,
    LOAD_COLOURS,
    MAX_RUNS,
    load_stops,
)
from moe_lib.views.balance_dashboard.words import run_title
from moe_lib.views.kit.lettering import plain_words
from moe_lib.views.kit.palette import SOFT_INK, VERMILION


@checked
@plain_words
def balance_figure(runs: BalanceRecorder | Sequence[BalanceRecorder]) -> Figure:
    """One run, or up to four beside each other: the load of every expert over the steps for each
    MoE layer, MaxVio, load entropy, share of dropped choices (if any was dropped), and loss.

    Raises ValueError for no run or more than four, or runs of models with other numbers of experts
    or layers.
    """
    runs = [runs] if isinstance(runs, BalanceRecorder) else list(runs)
    require(1 <= len(runs) <= MAX_RUNS, "runs", f"{len(runs)} runs", f"1 to {MAX_RUNS}")
    recorded = [run for run in runs if run.n_steps]
    shapes = {(len(run.layer_numbers), run.n_experts) for run in recorded}
    require(
        len(shapes) <= 1,
        "runs",
        f"(layers, experts) {sorted(shapes)}",
        "runs of models with the same experts",
    )
    if not recorded:
        return _empty()
    layers, n_experts = shapes.pop()
    lines = [
        line
        for line in _LINES
        if line != "dropped" or any(any(_values(run, "dropped")) for run in recorded)
    ]
    heights = [0.35 + min(1.6, max(0.8, 0.11 * n_experts))] * layers + [1.15] * len(lines)
    figure = Figure(
        figsize=(6.4 if len(runs) == 1 else 10.0, sum(heights) + 0.75), layout="constrained"
    )
    axes = figure.subplots(
        len(heights),
        len(runs),
        squeeze=False,
        sharex=True,
        sharey="row",
        gridspec_kw={"height_ratios": heights},
    )
    image = None
    for column, run in enumerate(runs):
        width = 62 if len(runs) == 1 else 84 // len(runs)
        axes[0, column].set_title(
            fill(run_title(run), width, break_long_words=False), fontsize=9, loc="left"
        )
        for row in range(layers):
            image = _draw_load(axes[row, column], run, row, column == 0) or image
        for row, line in enumerate(lines, start=layers):
            _draw_line(axes[row, column], run, line, column == 0)
        axes[-1, column].set_xlabel("step", fontsize=9)
    steps = max(run.steps or run.n_steps for run in runs)
    axes[0, 0].set_xlim(0, steps)
    settled = [
        loss
        for run in recorded
        for loss in run.column("loss")[min(run.n_steps - 1, steps // 10) :]
        if isfinite(loss)
    ] or [0.0, 1.0]  # no loss is a number: any scale will do
    spread = max(
        0.05, max(settled) - min(settled)
    )  # the first tenth would squeeze all that follows
    axes[-1, 0].set_ylim(min(settled) - 0.05 * spread, max(settled) + 0.05 * spread)
    bar = figure.colorbar(image, ax=axes[:layers, :], aspect=12 * layers, pad=0.01)
    bar.set_label("load / even share", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


_LINES = {
    "MaxVio": "MaxVio",
    "entropy": "load entropy",
    "dropped": "dropped\nshare",
    "loss": "loss\n(nats)",
}


def _values(run: BalanceRecorder, line: str) -> list:
    """Per step: a list of one number per layer, or one number for the whole model."""
    columns = {"MaxVio": run.max_violation, "entropy": run.entropy}
    if line in columns:
        return columns[line][: run.n_steps]
    return run.column("loss" if line == "loss" else "dropped_share", 0.0)


def _draw_load(ax: Axes, run: BalanceRecorder, place: int, first: bool):
    if first:
        number = run.layer_numbers[place] if run.layer_numbers else place
        ax.set_ylabel(f"layer {number}\nexpert", fontsize=8)
    ax.tick_params(labelsize=8)
    if not run.n_steps:
        return None
    shares = run.shares()[:, place].T.numpy()  # (E, steps)
    n_experts, steps = shares.shape
    stops = load_stops(n_experts, run.k)
    places = [(stop / stops[-1], colour) for stop, colour in zip(stops, LOAD_COLOURS, strict=True)]
    colours = LinearSegmentedColormap.from_list("load", places)
    image = ax.imshow(
        shares,
        aspect="auto",
        cmap=colours,
        vmin=0,
        vmax=stops[-1],
        interpolation="nearest",
        extent=(0, steps, n_experts - 0.5, -0.5),
    )
    ax.set_yticks(range(0, n_experts, max(1, n_experts // 4)))
    _mark_changes(ax, run, "black")
    return image


def _draw_line(ax: Axes, run: BalanceRecorder, line: str, first: bool) -> None:
    values = _values(run, line)
    steps = range(1, len(values) + 1)
    if line in ("MaxVio", "entropy"):
        ax.axhline(0 if line == "MaxVio" else 1, color=SOFT_INK, lw=0.8)  # even
        for place, number in enumerate(run.layer_numbers):
            colour, style = LAYER_LINES[place % len(LAYER_LINES)]
            ax.plot(
                steps,
                [row[place] for row in values],
                color=colour,
                ls=style,
                lw=1.1,
                label=f"layer {number}",
            )
        if first and line == "MaxVio" and values:
            ax.legend(
                fontsize=7,
                loc="lower left",
                bbox_to_anchor=(0, 0.96),
                ncols=4,
                borderpad=0.2,
                frameon=False,
            )
    else:
        ax.plot(steps, values, color="black", lw=0.9, label="training text")
        held_out = [
            (row["step"] + 1, row["heldout_loss"]) for row in run.rows if "heldout_loss" in row
        ]
        if line == "loss" and held_out:
            ax.plot(
                *zip(*held_out, strict=True),
                "D",
                color=VERMILION,
                markersize=4,
                label="held-out text",
            )
            if first:
                ax.legend(
                    fontsize=7,
                    loc="lower left",
                    bbox_to_anchor=(0, 0.96),
                    ncols=2,
                    borderpad=0.2,
                    frameon=False,
                )
    if first:
        ax.set_ylabel(_LINES[line], fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    _mark_changes(ax, run, SOFT_INK)


def _mark_changes(ax: Axes, run: BalanceRecorder, colour: str) -> None:
    for step, _ in run.cures[1:]:
        ax.axvline(step, color=colour, linestyle=":", lw=1.2)


def _empty() -> Figure:
    figure = Figure(figsize=(6.4, 1.0))
    figure.text(0.03, 0.5, "No step is done yet.", va="center")
    return figure
