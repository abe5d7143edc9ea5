"""Pictures of routing: who goes where under several routers, and what their moves cost."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from moe_lib.errors import is_number, require
from moe_lib.model.routing import Routing
from moe_lib.validation import Count, Texts, checked
from moe_lib.views.figures.seeds import COLOURS, MARKERS
from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.router_playground.routing_grid import WEIGHTS, draw_routing


@checked
def busiest(routing: Routing) -> float:
    """The largest load of an expert, in multiples of the even share."""
    load = routing.load().float()
    return (load.max() / load.mean()).item()


@checked
@plain_words
def routings_figure(
    routings: Mapping[str, Routing], words: Texts | None = None, per_row: Count = 4
) -> Figure:
    """A grid per router: a row per token, a column per expert, dark where the weight is large.

    words   one per token, written at the left of each row of grids; None: numbers

    ValueError for no routing, or another number of words than tokens.
    """
    require(len(routings) > 0, "routings", "no routing", "at least one")
    tokens = {len(routing.experts) for routing in routings.values()}
    require(len(tokens) == 1, "routings", f"{sorted(tokens)} tokens", "the same tokens in each")
    fits = words is None or len(words) == min(tokens)
    require(fits, "words", f"{words and len(words)} of them", f"{min(tokens)}, one per token")
    rows = -(-len(routings) // per_row)
    height = 0.9 + rows * (0.55 + 0.12 * min(tokens))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, per_row, squeeze=False)
    for place, (name, routing) in enumerate(routings.items()):
        ax = axes.flat[place]
        first = place % per_row == 0
        title = f"{name}\nlargest load {busiest(routing):.1f} × even"
        draw_routing(ax, routing, title, list(words) if first and words else None)
        if place + per_row >= len(routings):
            ax.set_xlabel("expert", fontsize=9)
    for ax in axes.flat[len(routings) :]:
        ax.set_axis_off()
    scale = matplotlib.cm.ScalarMappable(Normalize(0, 1), WEIGHTS)
    bar = figure.colorbar(scale, ax=axes, orientation="horizontal", shrink=0.4, aspect=40, pad=0.02)
    bar.set_label("weight of a chosen expert (white: not chosen)", fontsize=9)
    return figure


@checked
@plain_words
def moves_figure(runs: Mapping[str, Sequence], hollow: Texts = ()) -> Figure:
    """How often facts were given to another expert, against how many are recalled: a mark per run.

    runs     per router a sequence of records with `.moves` and `.recall`
    hollow   names whose marks are rings: controls

    ValueError for no router, or one without a run.
    """
    require(0 < len(runs) <= len(MARKERS), "runs", len(runs), f"1 to {len(MARKERS)} routers")
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    ax = figure.subplots()
    for (name, learned), colour, marker in zip(runs.items(), COLOURS, MARKERS, strict=False):
        good = all(hasattr(one, "moves") and hasattr(one, "recall") for one in learned)
        wants = "at least one run, each with .moves and .recall"
        require(len(learned) > 0 and good, f"runs[{name!r}]", learned, wants)
        numbers = all(is_number(one.moves) and is_number(one.recall) for one in learned)
        require(numbers, f"runs[{name!r}]", learned, "moves and recall that are numbers")
        moves, recall = [one.moves for one in learned], [one.recall for one in learned]
        face = "none" if name in hollow else colour
        ax.plot(moves, recall, marker, color=colour, mfc=face, ms=9, alpha=0.85)
        right = np.mean(moves) > 10  # near the right edge: the name goes to the left of the mark
        place = dict(xytext=(-11 if right else 11, 0), textcoords="offset points", va="center")
        middle = np.mean(moves), np.mean(recall)
        side = "right" if right else "left"
        ax.annotate(name, middle, ha=side, color=colour, fontweight="bold", **place)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(-0.1, 45)
    ax.set_xticks([0, 1, 2, 5, 10, 20, 40], ["0", "1", "2", "5", "10", "20", "40"])
    ax.set(ylim=(0, 1.05), ylabel="facts recalled")
    ax.set_xlabel("times that a fact was given to an expert it had not had before")
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
