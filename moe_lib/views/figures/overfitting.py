"""Pictures of chapter 15: training against test, the effect of each remedy, curves over a radius or
over labels."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moe_lib.errors import is_number, require
from moe_lib.validation import checked
from moe_lib.views.figures.arguments import require_columns
from moe_lib.views.figures.preferences import COLOURS
from moe_lib.views.kit.lettering import named, plain_words
from moe_lib.views.kit.palette import SOFT_INK

_MARKERS = ("o", "s", "^", "D")


@checked
@plain_words
def gap_figure(runs: pd.DataFrame) -> Figure:
    """Accuracy on the rows trained on and on the test rows, by labels; a panel per case, a dot per
    seed.

    runs: columns case, n_train, train_accuracy, test_accuracy. The line joins the means.
    """
    require_columns("runs", runs, "case", "n_train", "train_accuracy", "test_accuracy")
    cases = list(dict.fromkeys(runs["case"]))
    sizes = sorted(set(runs["n_train"]))
    figure = Figure(figsize=(4.2 * len(cases), 3.2), layout="constrained")
    for ax, case in zip(
        figure.subplots(1, len(cases), sharey=True, squeeze=False)[0], cases, strict=True
    ):
        part = runs[runs["case"] == case]
        for number, side in enumerate(("train", "test")):
            colour, values = COLOURS[number], part[f"{side}_accuracy"]
            places = [sizes.index(size) for size in part["n_train"]]
            ax.scatter(places, values, color=colour, marker=_MARKERS[number], s=22, alpha=0.7)
            means = values.groupby(part["n_train"]).mean()
            ax.plot([sizes.index(size) for size in means.index], means, color=colour, label=side)
        ax.set(
            title=case,
            xlabel="labelled texts",
            xticks=range(len(sizes)),
            xticklabels=sizes,
            ylim=(0, 1.03),
        )
        ax.grid(alpha=0.3)
        ax.legend()
    figure.axes[0].set_ylabel("accuracy")
    return figure


@checked
@plain_words
def effects_figure(
    effects: Mapping[str, Mapping[str, Collection]], unit: str | Mapping[str, str]
) -> Figure:
    """{panel: {remedy: one effect per seed}} -> a dot per seed, a bar at the mean; the line at 0 is
    "no effect".

    unit   what stands below; {panel: unit} where panels measure different things: each then has a
           scale of its own
    """
    require(len(effects) > 0, "effects", "none", "at least one panel")
    for title, remedies in effects.items():
        empty = [name for name, values in remedies.items() if len(values) == 0]
        wants = "at least one effect for each of one or more remedies"
        require(remedies and not empty, f"effects[{title!r}]", empty or "none", wants)
        for name, values in remedies.items():
            place = f"effects[{title!r}][{name!r}]"
            require(all(map(is_number, values)), place, values, "numbers", TypeError)
    units = dict.fromkeys(effects, unit) if isinstance(unit, str) else unit
    missing = [title for title in effects if title not in units]
    require(not missing, "unit", list(units), f"a unit for {', '.join(missing)}")
    figure = Figure(
        figsize=(4.2 * len(effects), 1.2 + 0.35 * max(map(len, effects.values()))),
        layout="constrained",
    )
    axes = figure.subplots(
        1, len(effects), sharey=True, sharex=isinstance(unit, str), squeeze=False
    )[0]
    for ax, (title, remedies) in zip(axes, effects.items(), strict=True):
        for place, values in enumerate(remedies.values()):
            ax.barh(place, np.mean(values), color=COLOURS[5], height=0.5)
            ax.scatter(values, [place] * len(values), color=COLOURS[0], s=20, zorder=3)
        ax.axvline(0, color=SOFT_INK, linewidth=1)
        ax.set(
            title=title,
            xlabel=units[title],
            yticks=range(len(remedies)),
            yticklabels=list(remedies),
        )
        ax.grid(alpha=0.3, axis="x")
    axes[0].invert_yaxis()  # first remedy on top
    return figure


@checked
@plain_words
def curves_figure(
    panels: Mapping[str, Mapping[str, pd.DataFrame]], x: str, y: Mapping[str, str]
) -> Figure:
    """{panel: {name: frame}} with columns x and y[panel] -> a line per name through the means, a
    dot per row."""
    require(len(panels) > 0, "panels", "none", "at least one panel")
    missing = [title for title in panels if title not in y]
    require(not missing, "y", list(y), f"a column for {', '.join(missing)}")
    for title, lines in panels.items():
        for name, frame in lines.items():
            require_columns(f"panels[{title!r}][{name!r}]", frame, x, y[title])
    figure = Figure(figsize=(4.4 * len(panels), 3.1), layout="constrained")
    for ax, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for number, (name, frame) in enumerate(lines.items()):
            style = {
                "color": COLOURS[number % len(COLOURS)],
                "marker": _MARKERS[number % len(_MARKERS)],
            }
            means = frame.groupby(x)[y[title]].mean()
            ax.scatter(frame[x], frame[y[title]], s=14, alpha=0.45, **style)
            ax.plot(means.index, means, label=named(name), markersize=4, **style)
        ax.set(title=title, xlabel=x, ylabel=y[title].replace("_", " "))
        ax.grid(alpha=0.3)
    handles = {
        label: handle
        for ax in figure.axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=4, fontsize=8
    )  # covers no line
    return figure
