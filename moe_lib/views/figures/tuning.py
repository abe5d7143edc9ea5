"""Pictures of what a task asks of the experts: which it uses in each layer, two tasks side by side,
and ESFT's choice.

A selection is any record with `relevance` (layer -> share per expert, a layer sums to 1), `experts`
(layer -> the chosen ones, most relevant first) and `p` (the share that they had to reach), as
`moe_lib.tuning.methods.select_experts` gives one.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from moe_lib.errors import require
from moe_lib.validation import Natural, checked
from moe_lib.views.kit.lettering import named, plain_words
from moe_lib.views.kit.palette import BLUE, GREEN, ORANGE, SOFT_INK

COLOURS = (BLUE, ORANGE, GREEN)  # Okabe and Ito: blue, orange, green
_HATCHES = ("", "////", "....")
_MARKERS = ("o", "s", "^")
MOST = len(COLOURS)


@checked
@plain_words
def task_experts_figure(selections: Mapping[str, object]) -> Figure:
    """A panel per layer: the relevance of every expert to each task, a bar each, and a mark above
    those ESFT trains.

    selections   name of a task -> its selection, one to three of them, of one model
    Raises ValueError for no or too many tasks, or selections of different models.
    """
    layers, n_experts = _check(selections)
    width = min(13.0, 3.0 + 0.45 * n_experts)
    figure = Figure(figsize=(width, 0.9 + 1.75 * len(layers)), layout="constrained")
    axes = figure.subplots(len(layers), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    top = 1.25 * max(max(one.relevance[layer]) for one in selections.values() for layer in layers)
    for ax, layer in zip(axes, layers, strict=True):
        _draw_layer(ax, selections, layer, n_experts, top)
    axes[-1].set(ylim=(0, top), xlim=(-0.6, n_experts - 0.4))
    axes[-1].set_xlabel("expert", fontsize=9)
    axes[-1].set_xticks(range(0, n_experts, max(1, n_experts // 16)))
    figure.supylabel("share of the layer", fontsize=9)
    swatches = [
        Patch(
            facecolor=COLOURS[number],
            hatch=_HATCHES[number],
            edgecolor="white",
            linewidth=0,
            label=named(name),
        )
        for number, name in enumerate(selections)
    ]
    _legend(figure, [*swatches, *axes[0].lines])
    return figure


@checked
def expert_choice_words(selections: Mapping[str, object], layer: Natural) -> str:
    """One layer in words: "layer 2: intents 4, 7; sentiment 4; in common 4"."""
    layers, _ = _check(selections)
    require(layer in layers, "layer", layer, f"one of {layers}")
    parts = [f"{name} {_list(one.experts.get(layer, ()))}" for name, one in selections.items()]
    if len(selections) > 1:
        common = set.intersection(*(set(one.experts.get(layer, ())) for one in selections.values()))
        parts.append(f"in common {_list(sorted(common))}")
    return f"layer {layer}: " + "; ".join(parts)


@checked
@plain_words
def reaching_p_figure(selections: Mapping[str, object]) -> Figure:
    """A panel per layer: the share that the 1, 2, 3 … most relevant experts hold together, and
    where it reaches p.

    The dotted line is what as many experts hold if all are used alike. Arguments and errors as
    above.
    """
    layers, n_experts = _check(selections)
    figure = Figure(figsize=(min(13.0, 1.0 + 3.2 * len(layers)), 3.3), layout="constrained")
    axes = figure.subplots(1, len(layers), sharex=True, sharey=True, squeeze=False)[0]
    counts = np.arange(n_experts + 1)
    for ax, layer in zip(axes, layers, strict=True):
        ax.plot(counts, counts / n_experts, ":", color="black", linewidth=1.2, label="all alike")
        for number, (name, one) in enumerate(selections.items()):
            share = np.concatenate([[0.0], np.sort(one.relevance[layer])[::-1].cumsum()])
            colour, chosen = COLOURS[number], len(one.experts.get(layer, ()))
            ax.plot(
                counts,
                share,
                color=colour,
                linewidth=1.8,
                linestyle=("-", "--", "-.")[number],
                label=named(name),
            )
            ax.plot(
                chosen,
                share[chosen],
                _MARKERS[number],
                color=colour,
                markersize=8,
                markeredgecolor="black",
                label=named(f"{name}: trained by ESFT"),
            )
        for p in sorted({one.p for one in selections.values()}):
            ax.axhline(p, color=SOFT_INK, linewidth=0.9)
            ax.annotate(f"p = {p:g}", (n_experts, p), ha="right", va="bottom", fontsize=8)
        ax.set_title(f"layer {layer}", fontsize=10)
        ax.set(ylim=(0, 1.03), xlim=(0, n_experts + 0.3))
        ax.set_xlabel("experts, most relevant first", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share that they hold", fontsize=9)
    curves, marks = (
        axes[0].lines[1 : 2 * len(selections) : 2],
        axes[0].lines[2 : 2 * len(selections) + 1 : 2],
    )
    _legend(figure, [*curves, *marks, axes[0].lines[0]])
    return figure


def _draw_layer(
    ax: Axes, selections: Mapping[str, object], layer: int, n_experts: int, top: float
) -> None:
    wide = 0.84 / len(selections)
    for number, (name, one) in enumerate(selections.items()):
        places = np.arange(n_experts) - 0.42 + (number + 0.5) * wide
        share, chosen = np.asarray(one.relevance[layer]), list(one.experts.get(layer, ()))
        bars = ax.bar(
            places,
            share,
            wide * 0.94,
            color=COLOURS[number],
            hatch=_HATCHES[number],
            edgecolor="white",
            linewidth=0,
        )
        for expert in chosen:
            bars[expert].set(edgecolor="black", linewidth=1.2)
        ax.plot(
            places[chosen],
            share[chosen] + 0.06 * top,
            _MARKERS[number],
            color=COLOURS[number],
            markersize=6,
            markeredgecolor="black",
            linestyle="none",
            label=named(f"{name}: trained by ESFT"),
        )
    ax.axhline(1 / n_experts, color="black", linestyle=":", linewidth=1, label="all alike")
    ax.set_title(expert_choice_words(selections, layer), fontsize=9, loc="left", parse_math=False)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, handles: list) -> None:
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(len(handles), 5),
        fontsize=8,
        frameon=False,
    )


def _list(experts) -> str:
    return ", ".join(map(str, experts)) or "none"


def _check(selections: Mapping[str, object]) -> tuple[list[int], int]:
    """The layers, and the number of experts in each."""
    require(
        0 < len(selections) <= MOST, "selections", f"{len(selections)} tasks", f"1 to {MOST} tasks"
    )
    for name, one in selections.items():
        fits = all(hasattr(one, part) for part in ("relevance", "experts", "p"))
        wants = "a selection of experts, with relevance, experts and p"
        require(fits, f"selections[{name!r}]", one, wants, TypeError)
    shapes = [
        {layer: len(share) for layer, share in one.relevance.items()} for one in selections.values()
    ]
    require(
        all(shape == shapes[0] for shape in shapes),
        "selections",
        "different layers or numbers of experts",
        "selections made with one model",
    )
    require(
        len(set(shapes[0].values())) == 1,
        "selections",
        sorted(set(shapes[0].values())),
        "as many experts in each layer",
    )
    return sorted(shapes[0]), next(iter(shapes[0].values()))
