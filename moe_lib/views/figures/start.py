"""Pictures of chapter 00: what a text loses by the wrong experts, and how far they follow the
token."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.errors import require
from moe_lib.validation import checked
from moe_lib.views.figures.arguments import require_columns, require_numbers
from moe_lib.views.kit.lettering import WIDTH, named, plain_words
from moe_lib.views.kit.palette import BLUE, GREEN, GREY, ORANGE, RULE

# marker, colour: told apart without the colour too
_LOOKS = [("s", GREY), ("D", BLUE), ("o", ORANGE), ("^", GREEN)]


@checked
@plain_words
def exchange_figure(lost: pd.DataFrame, changed: pd.DataFrame) -> Figure:
    """Left, the loss that each case adds, domain by domain; right, the predictions it changes.

    lost     (draws of all cases, domains), indexed by the name of the case, one row per draw
    changed  (draws of all cases, 1), shares from 0 to 1, indexed likewise
    """
    for name, table in (("lost", lost), ("changed", changed)):
        require_numbers(name, table)
    same = list(lost.index) == list(changed.index)
    require(same, "changed", list(changed.index), f"the cases of lost: {list(lost.index)}")
    cases = list(dict.fromkeys(lost.index))
    require(len(cases) <= len(_LOOKS), "lost", f"{len(cases)} cases", f"at most {len(_LOOKS)}")
    figure = Figure(figsize=(WIDTH, 1.6 + 0.3 * lost.shape[1]), layout="constrained")
    figure.get_layout_engine().set(wspace=0.05)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_lost(left, lost, cases)
    _draw_changed(right, changed.iloc[:, 0], cases)
    return figure


def _draw_lost(ax: Axes, lost: pd.DataFrame, cases: list) -> None:
    order = list(lost.loc[[cases[-1]]].mean().sort_values().index)
    for (marker, colour), case in zip(_LOOKS, cases, strict=False):
        for row, draw in enumerate(lost.loc[[case], order].to_numpy()):
            ax.plot(
                draw,
                range(len(order)),
                marker,
                color=colour,
                markeredgecolor="black",
                markeredgewidth=0.6,
                markersize=6,
                alpha=0.8,
                label=named(str(case)) if row == 0 else None,
            )
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(order)), order)
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set(xlabel="nats lost per token against the right experts", ylabel="domain of the text")
    ax.legend(loc="lower right", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_changed(ax: Axes, changed: pd.Series, cases: list) -> None:
    for place, ((_, colour), case) in enumerate(zip(_LOOKS, cases, strict=False)):
        draws = changed.loc[[case]]
        ax.barh(place, draws.mean(), 0.6, color=colour, edgecolor="black", linewidth=0.6)
        words = f"{draws.mean():.1%}"
        if len(draws) > 1:
            ax.plot([draws.min(), draws.max()], [place, place], "|-", color="black")
            words += f"\n({draws.min():.1%} to {draws.max():.1%})"
        at = draws.max() + 0.03 * changed.max()
        ax.text(at, place, words, va="center", fontsize=8)
    ax.set_yticks(range(len(cases)), [str(case) for case in cases])
    ax.invert_yaxis()
    ax.set(xlabel="share of predictions that change", xlim=(0, 1.5 * changed.max()))
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.spines[["top", "right"]].set_visible(False)


@checked
@plain_words
def same_expert_figure(results: pd.DataFrame) -> Figure:
    """Pairs of equal tokens with the same first expert, by layer: the trained model's bars, the
    untrained ones' diamonds, chance as a line.

    results: columns model ("trained" or another name), layer, "equal tokens" and "chance"
    """
    require_columns("results", results, "model", "layer", "equal tokens", "chance")
    trained = results[results["model"] == "trained"]
    others = results[results["model"] != "trained"]
    require(len(trained) > 0, "results", "no row of the trained model", "one per layer")
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    ax = figure.subplots()
    places = {layer: place for place, layer in enumerate(trained["layer"])}
    at = list(places.values())
    bars = ax.bar(at, trained["equal tokens"], 0.5, color=BLUE, label="trained, equal tokens")
    ax.bar_label(bars, fmt="{:.2f}", padding=2, fontsize=9)
    ax.plot(
        others["layer"].map(places) + 0.36,
        others["equal tokens"],
        "D",
        color=ORANGE,
        markeredgecolor="black",
        label=f"untrained, equal tokens ({others['model'].nunique()} seeds)",
    )
    left, right = [place - 0.3 for place in at], [place + 0.3 for place in at]
    ax.hlines(trained["chance"], left, right, color="black", ls="--", label="any two tokens")
    ax.set_xticks(at, [f"layer {layer}" for layer in places])
    ax.set(ylabel="pairs with the same first expert", ylim=(0, 1.3 * max(trained["equal tokens"])))
    ax.legend(loc="upper left", ncols=3, fontsize=9, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
