"""The load of the experts: of one layer as bars, of all layers as a map, and one token's
affinities."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model import max_violation
from moe_lib.tracing import LayerTrace, Reading, RoutingTrace
from moe_lib.validation import checked
from moe_lib.views.explorer.layer_facts import choices_of, dense_layers
from moe_lib.views.kit.lettering import WIDTH, named, plain_words, shortened
from moe_lib.views.kit.palette import SOFT_INK, expert_colour
from moe_lib.views.kit.wording import ordinal

_GREY = SOFT_INK


@checked
@plain_words
def load_figure(trace: RoutingTrace) -> Figure:
    """Load of every expert beside an even split, one panel per MoE layer."""
    require(len(trace.layers) > 0, "trace", "no layers", "a trace with layers")
    rows = (len(trace.layers) + 1) // 2
    columns = min(2, len(trace.layers))
    figure = Figure(figsize=(WIDTH, 0.4 + 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax, layer in zip(axes, trace.layers, strict=False):
        draw_load(ax, trace, layer.index)
    for ax in axes[len(trace.layers) :]:
        ax.set_axis_off()
    return figure


def draw_load(
    ax: Axes,
    trace: RoutingTrace,
    layer: int,
    expert: int | None = None,
    other: RoutingTrace | None = None,
    names: tuple[str, str] = ("", ""),
) -> None:
    """Times chosen; of two traces the shares of all choices, as the texts may differ in length."""
    part, load = trace.layer(layer), trace.load(layer).tolist()
    colours = [expert_colour(e).fill for e in range(len(load))]
    second = None
    if other is not None and other.layer(layer).n_experts == len(load):
        load, second = (_shares(one.load(layer).tolist()) for one in (trace, other))
    width, left = (0.8, 0.0) if second is None else (0.4, -0.2)
    bars = ax.bar(
        [e + left for e in range(len(load))],
        load,
        width,
        color=colours,
        edgecolor="#00000080",
        linewidth=0.6,
        label=named(shortened(names[0])) if second else None,
    )
    if second is not None:
        ax.bar(
            [e + 0.2 for e in range(len(load))],
            second,
            width,
            color=colours,
            edgecolor="#00000099",
            hatch="////",
            linewidth=0.6,
            label=named(shortened(names[1])),
        )
    if expert is not None:
        bars[expert].set(edgecolor="black", linewidth=2.2)
    even = sum(load) / len(load)
    ax.axhline(
        even,
        color="black",
        linestyle="--",
        linewidth=1,
        label=f"even split: {even:.1f}" if second is None else "even split",
    )
    top = max([*load, *(second or []), 1e-9 if second else 1]) * 1.4
    passing = int(trace.real.sum())  # tokens: what a shared expert gets
    at, count = (passing, f"{passing}") if second is None else _share(passing, trace.load(layer))
    ax.set_title(
        f"Layer {layer}: load of each expert (MaxVio {max_violation(trace.load(layer)):.2f})",
        fontsize=10,
    )
    ax.set_xlabel("expert")
    ax.set_ylabel("times chosen" if second is None else "share of the choices")
    ax.set_xticks(range(0, len(load), max(1, len(load) // 16)))
    ax.set_ylim(0, top)
    _draw_beside(ax, part, top, at, count)
    if second is None:
        ax.yaxis.get_major_locator().set_params(integer=True)
    ax.tick_params(labelsize=8)
    ax.legend(loc="upper right", fontsize=8, frameon=False, ncols=1 if second is None else 2)
    ax.spines[["top", "right"]].set_visible(False)


def _shares(load: list[int]) -> list[float]:
    return [count / max(1, sum(load)) for count in load]


def _share(passing: int, load: Tensor) -> tuple[float, str]:
    share = passing / max(1, int(load.sum()))
    return share, f"{share:.2f}"


def _draw_beside(ax: Axes, part: LayerTrace, top: float, at: float, count: str) -> None:
    """Lines between the groups, and the shared experts, which every token passes: bars of height
    `at` that say their `count`, with a break where they are too tall for the routed ones' axis."""
    for group in range(1, part.n_group):
        ax.axvline(group * part.n_experts / part.n_group - 0.5, color="black", linewidth=1.2)
    number = max(part.n_shared, int(part.shared))
    if not number:
        return
    places = [part.n_experts + 0.5 + place for place in range(number)]
    shown = min(at, 0.72 * top)
    ax.bar(
        places,
        [shown] * number,
        0.8,
        color="white",
        edgecolor="black",
        hatch="xxx",
        linewidth=0.8,
        label="shared: every token" + (" (bar cut)" if shown < at else ""),
    )
    for place in places:
        ax.text(place, shown, count, ha="center", va="bottom", fontsize=8)
        if shown < at:  # the usual mark of a break: a white gap between two slanted lines
            for low, colour, width in ((0.42, "white", 5), (0.4, "black", 1), (0.44, "black", 1)):
                ends = [low * top, (low + 0.03) * top]
                ax.plot([place - 0.5, place + 0.5], ends, color=colour, linewidth=width)


def draw_all_loads(ax: Axes, trace: RoutingTrace, layer: int) -> None:
    """Load in every layer as a multiple of an even split, one line of squares per layer; dense
    layers plain."""
    most = max(part.n_experts for part in trace.layers)
    dense = dense_layers(trace)
    lines = sorted([*dense, *(part.index for part in trace.layers)])
    table = np.full((len(lines), most), np.nan)
    for part in trace.layers:
        load = trace.load(part.index)
        table[lines.index(part.index), : part.n_experts] = load / max(
            load.sum().item() / part.n_experts, 1e-9
        )
    image = ax.imshow(table, cmap="cividis", aspect="auto", vmin=0, vmax=max(2.0, np.nanmax(table)))
    for index in dense:
        at = lines.index(index)
        ax.add_patch(
            Rectangle(
                (-0.5, at - 0.45), most, 0.9, facecolor="#e8e8e8", edgecolor=_GREY, linewidth=0.6
            )
        )
        if len(lines) < 16:
            ax.text(most / 2 - 0.5, at, "dense, no router", ha="center", va="center", fontsize=8)
    ax.set_yticks(
        range(len(lines)),
        [f"{'▶ ' if index == layer else ''}{index}" for index in lines],
        fontsize=8,
    )
    ax.set_xticks(range(0, most, max(1, most // 16)))
    ax.tick_params(labelsize=8)
    ax.set(xlabel="expert", ylabel="layer")
    ax.set_title("All layers: load, as a multiple of an even split", fontsize=10)
    ax.figure.colorbar(image, ax=ax)


def draw_affinities(ax: Axes, reading: Reading, layer: int, token: int) -> None:
    """Affinities of one token to all experts, its choices framed."""
    part = reading.trace.layer(layer)
    require(
        token in range(len(reading)),
        "token",
        token,
        f"one of {len(reading)} tokens, counted from 0",
    )
    scores, chosen = (
        part.scores[0, token].tolist(),
        [expert for expert, _, _ in choices_of(part, token)],
    )
    bars = ax.bar(
        range(len(scores)),
        scores,
        color=[expert_colour(e).fill for e in range(len(scores))],
        edgecolor="#00000080",
        linewidth=0.6,
    )
    for group in range(1, part.n_group):
        ax.axvline(group * part.n_experts / part.n_group - 0.5, color="black", linewidth=1.2)
    for rank, expert in enumerate(chosen, start=1):
        bars[expert].set(edgecolor="black", linewidth=2)
        ax.annotate(ordinal(rank), (expert, scores[expert]), ha="center", va="bottom", fontsize=8)
    ax.set_title(
        f"Token {token}, “{shortened(reading.labels[token])}”: affinity to each expert",
        fontsize=10,
        parse_math=False,
    )
    ax.set(xlabel="expert", ylabel="affinity", ylim=(0, max(scores) * 1.2))
    ax.set_xticks(range(0, len(scores), max(1, len(scores) // 16)))
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
