"""Pictures of routing: a record in, a matplotlib figure out. Nothing here knows a model."""

from functools import lru_cache
from textwrap import fill

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_lib.errors import require
from moe_lib.tracing import LayerTrace, Reading, RoutingTrace
from moe_lib.views.explorer.layer_facts import choices_of, dense_layers, max_violation
from moe_lib.views.explorer.words import NO_TEXT, cut_words, layer_words
from moe_lib.views.kit.palette import expert_colour
from moe_lib.views.kit.wording import ordinal

WIDTH = 10.0  # inches
_LINE = 100  # characters of the token strip per line
_ROW = 0.44  # inches per line of tokens
_MAX_ROWS = 9
_GREY = "#595959"


def load_figure(trace: RoutingTrace) -> Figure:
    """Load of every expert beside an even split, one panel per MoE layer."""
    rows = (len(trace.layers) + 1) // 2
    columns = min(2, len(trace.layers))
    figure = Figure(figsize=(WIDTH, 0.4 + 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax, layer in zip(axes, trace.layers, strict=False):
        _draw_load(ax, trace, layer.index)
    for ax in axes[len(trace.layers) :]:
        ax.set_axis_off()
    return figure


def affinity_figure(reading: Reading, layer: int, max_tokens: int = 40) -> Figure:
    """Affinity of every token to every expert of one layer as a heat map; a dot marks the chosen
    experts."""
    part = reading.trace.layer(layer)
    shown = min(len(reading), max_tokens)
    figure = Figure(
        figsize=(max(4.0, 2.5 + 0.28 * part.n_experts), 1.3 + 0.2 * max(1, shown)),
        layout="constrained",
    )
    ax = figure.subplots()
    if not shown:
        return _say_empty(figure, ax)
    image = ax.imshow(part.scores[0, :shown].numpy(), cmap="cividis", aspect="auto", vmin=0)
    for token, experts in enumerate(part.experts[0, :shown].tolist()):
        ax.plot(
            experts,
            [token] * len(experts),
            "o",
            color="white",
            markeredgecolor="black",
            markersize=4,
        )
    ax.set_yticks(range(shown), [printable(label) for label in reading.labels[:shown]], fontsize=8)
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
    ax.set_xlabel("expert")
    ax.set_xticks(range(0, part.n_experts, max(1, part.n_experts // 16)))
    ax.set_title(
        f"Layer {layer}: affinity of each token to each expert; dots are the chosen ones",
        fontsize=10,
    )
    figure.colorbar(image, ax=ax, label="affinity")
    return figure


def token_figure(reading: Reading, layer: int, rank: int = 1, expert: int | None = None) -> Figure:
    """The tokens of a text, each in the colour and with the number of the expert it is sent to.

    With `expert`, only the tokens that choose it at any rank are coloured.
    """
    rows = _rows(reading)
    figure = Figure(figsize=(WIDTH, 0.5 + _ROW * len(rows)), layout="constrained")
    _draw_tokens(figure.subplots(), reading, layer, rank, expert, rows)
    return figure


def explorer_figure(
    reading: Reading,
    layer: int,
    rank: int = 1,
    token: int | None = None,
    expert: int | None = None,
    *,
    compared: Reading | None = None,
    names: tuple[str, str] = ("First", "Second"),
    words: str = "",
    side: int = 0,
) -> Figure:
    """What the explorer shows: the tokens, the load of the layer's experts, and one token's
    affinities or, without a token, the load of all layers.

    compared  a second reading, drawn below the first and hatched beside its bars; names: of the
              two; words: how they compare
    side      the reading that `token` belongs to: 0, or 1 for the second
    """
    shown = [(reading, names[0] if compared else "")]
    if compared is not None and any(part.index == layer for part in compared.trace.layers):
        shown.append((compared, names[1]))
    lines = [_rows(one) for one, _ in shown]
    caption = fill(
        f"{layer_words(reading, reading.trace.layer(layer), rank)} {cut_words(reading)} {words}"
        if len(reading)
        else NO_TEXT,
        125,
    )
    heights = [*(0.35 + _ROW * len(rows) for rows in lines), 2.4, 0.25 * (1 + caption.count("\n"))]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for place, ((one, name), rows) in enumerate(zip(shown, lines, strict=True)):
        own_rank = min(rank, one.trace.layer(layer).experts.shape[-1])
        _draw_tokens(figure.add_subplot(grid[place, :]), one, layer, own_rank, expert, rows, name)
    other = compared.trace if len(shown) > 1 else None
    _draw_load(figure.add_subplot(grid[-2, 0]), reading.trace, layer, expert, other, names)
    beside = figure.add_subplot(grid[-2, 1])
    if token is None:
        _draw_all_loads(beside, reading.trace, layer)
    else:
        _draw_affinities(beside, shown[min(side, len(shown) - 1)][0], layer, token)
    below = figure.add_subplot(grid[-1, :])
    below.set_axis_off()
    below.text(0, 0.5, caption, fontsize=9, va="center", parse_math=False)
    return figure


def _rows(reading: Reading) -> list[list[tuple[int, float, float]]]:
    """Lay the tokens out in lines: per line (token, left, width) in characters; at most _MAX_ROWS
    lines."""
    rows, left = [[]], 0.0
    for token, label in enumerate(reading.labels):
        width = max(2, min(len(label), 30)) + 0.8
        if left + width > _LINE:
            rows, left = [*rows, []], 0.0
        rows[-1].append((token, left, width))
        left += width + 0.3
        if "⏎" in label:
            rows, left = [*rows, []], 0.0
    return rows[:_MAX_ROWS]


def _draw_tokens(
    ax: Axes,
    reading: Reading,
    layer: int,
    rank: int,
    expert: int | None,
    rows: list,
    name: str = "",
) -> None:
    part = reading.trace.layer(layer)
    k = part.experts.shape[-1]
    require(rank in range(1, k + 1), "rank", rank, f"1 to {k}")
    ax.set(xlim=(0, _LINE), ylim=(len(rows), 0))
    ax.set_axis_off()
    chosen = "coloured by" if expert is None else f"that choose expert {expert}, else"
    of = f"{printable(name)}, layer" if name else "Layer"
    ax.set_title(
        f"{of} {layer}: tokens {chosen} their {ordinal(rank)} expert",
        fontsize=10,
        loc="left",
        parse_math=False,
    )
    if not len(reading):
        ax.text(0, 0.5, NO_TEXT, va="center")
    for line, row in enumerate(rows):
        for token, left, width in row:
            experts = [chosen for chosen, _, _ in choices_of(part, token)]
            shown = (
                expert if expert in experts else experts[rank - 1] if rank <= len(experts) else None
            )
            plain = shown is None or expert is not None and expert not in experts
            _draw_chip(ax, left, line, width, reading.labels[token], shown, plain)
    last = sum(map(len, rows))
    if last < len(reading):
        ax.set_title(f"and {len(reading) - last} more tokens", fontsize=9, loc="right", color=_GREY)


def _draw_chip(
    ax: Axes, left: float, line: int, width: float, label: str, expert: int | None, plain: bool
) -> None:
    colour = expert_colour(expert or 0)
    face, ink = ("white", "black") if plain else (colour.fill, colour.text)
    ax.add_patch(
        Rectangle(
            (left, line + 0.06), width, 0.86, facecolor=face, edgecolor="#00000055", linewidth=0.6
        )
    )
    if colour.edge != "none" and not plain:
        edge_y = line + (0.12 if colour.edge_side == "top" else 0.86)
        style = {"solid": "-", "dashed": (0, (2, 1)), "double": ":"}[colour.edge]
        ax.plot(
            [left + 0.2, left + width - 0.2],
            [edge_y] * 2,
            color=ink,
            linewidth=1.3,
            linestyle=style,
        )
    text = label if len(label) <= 30 else label[:29] + "…"
    ax.text(
        left + width / 2,
        line + 0.36,
        printable(text),
        ha="center",
        va="center",
        color=ink,
        fontsize=8,
        family="DejaVu Sans Mono",
        parse_math=False,
    )
    number = "–" if expert is None else str(expert)
    ax.text(
        left + width / 2,
        line + 0.68,
        number,
        ha="center",
        va="center",
        color=ink,
        fontsize=6.5,
        weight="bold",
    )


def _draw_load(
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
        label=names[0] if second else None,
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
            label=names[1],
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
    ax.set_title(
        f"Layer {layer}: load of each expert (MaxVio "
        f"{max_violation(trace.load(layer).tolist()):.2f})",
        fontsize=10,
    )
    ax.set_xlabel("expert")
    ax.set_ylabel("times chosen" if second is None else "share of the choices")
    ax.set_xticks(range(0, len(load), max(1, len(load) // 16)))
    ax.set_ylim(0, top)
    _draw_beside(ax, part, top)
    if second is None:
        ax.yaxis.get_major_locator().set_params(integer=True)
    ax.tick_params(labelsize=8)
    ax.legend(loc="upper right", fontsize=8, frameon=False, ncols=1 if second is None else 2)
    ax.spines[["top", "right"]].set_visible(False)


def _shares(load: list[int]) -> list[float]:
    return [count / max(1, sum(load)) for count in load]


def _draw_beside(ax: Axes, part: LayerTrace, top: float) -> None:
    """Lines between the groups, and the shared experts, which every token passes: no height to
    measure."""
    for group in range(1, part.n_group):
        ax.axvline(group * part.n_experts / part.n_group - 0.5, color="black", linewidth=1.2)
    number = max(part.n_shared, int(part.shared))
    if number:
        places = [part.n_experts + 0.5 + place for place in range(number)]
        ax.bar(
            places,
            [top * 0.7] * number,
            0.8,
            color="white",
            edgecolor="black",
            hatch="xxx",
            linewidth=0.8,
            label="shared: every token",
        )


def _draw_all_loads(ax: Axes, trace: RoutingTrace, layer: int) -> None:
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


def _draw_affinities(ax: Axes, reading: Reading, layer: int, token: int) -> None:
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
        f"Token {token}, “{printable(reading.labels[token])}”: affinity to each expert",
        fontsize=10,
        parse_math=False,
    )
    ax.set(xlabel="expert", ylabel="affinity", ylim=(0, max(scores) * 1.2))
    ax.set_xticks(range(0, len(scores), max(1, len(scores) // 16)))
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _say_empty(figure: Figure, ax: Axes) -> Figure:
    ax.set_axis_off()
    ax.text(0, 0.5, NO_TEXT)
    return figure


@lru_cache
def _font():
    return font_manager.get_font(font_manager.findfont("DejaVu Sans Mono"))


def printable(text: str) -> str:
    """`text` with a box for every character that matplotlib's own font cannot draw (it would warn
    of each)."""
    return "".join(c if _font().get_char_index(ord(c)) else "▯" for c in text)
