"""The player as a picture: the slots at one token, and the hit rate so far beside its controls."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.kit.palette import BLUE, GREEN, GREY, ORANGE, VERMILION

SIGNS = {"hit": "✓", "loaded": "↓", "kept": "", "guessed": "»", "free": ""}
FILLS = {"hit": GREEN, "loaded": VERMILION, "kept": "#e4e4e4", "guessed": ORANGE, "free": "white"}
LINES = {"own": (BLUE, "solid"), "shuffled": (GREY, "dashed"), "belady": (VERMILION, "dotted")}
COLUMNS = 8


@plain_words
def cache_figure(view: Mapping, curves: Mapping[str, Sequence[float]]) -> Figure:
    """view as `ExpertCachePlayer` makes it; curves: name -> hit rate up to every token."""
    rows = -(-len(view["slots"]) // COLUMNS)
    figure = Figure(figsize=(WIDTH, max(3.0, 1.4 + 0.55 * rows)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _draw_slots(left, view, rows)
    _draw_curves(right, view, curves)
    return figure


def _draw_slots(ax, view: Mapping, rows: int) -> None:
    for number, slot in enumerate(view["slots"]):
        x, y = number % COLUMNS, number // COLUMNS
        ax.bar(x, 0.8, 0.86, y - 0.4, color=FILLS[slot["state"]], edgecolor="black", lw=0.7)
        who = "" if slot["expert"] is None else f"{slot['expert']} {SIGNS[slot['state']]}"
        ax.text(x, y, who.strip(), ha="center", va="center", fontsize=9, color="black")
    needed = ", ".join(f"{one['expert']} {'✓' if one['hit'] else '↓'}" for one in view["needed"])
    ax.set_title(f"Token {view['token']} of {view['tokens']} needs {needed}", fontsize=10)
    ax.set(xlim=(-0.6, COLUMNS - 0.4), ylim=(max(rows, 3) - 0.4, -0.6), xticks=[], yticks=[])
    ax.set_xlabel("✓ was there   ↓ had to be loaded   » loaded on a guess", fontsize=8.5)
    ax.spines[:].set_visible(False)


def _draw_curves(ax, view: Mapping, curves: Mapping[str, Sequence[float]]) -> None:
    for rate in view["rates"]:
        curve, (colour, line) = curves[rate["name"]], LINES[rate["name"]]
        label = f"{rate['words']} {rate['rate']}"
        ax.plot(range(1, len(curve) + 1), curve, color=colour, linestyle=line, lw=2, label=label)
    ax.axvline(view["token"], color="black", lw=0.8)
    ax.set(ylim=(0, 1), xlim=(0, view["tokens"] + 1), xlabel="token")
    ax.set_title("Hit rate so far", fontsize=10)
    ax.legend(fontsize=8.5, frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
