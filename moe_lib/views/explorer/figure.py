"""Pictures of routing: a record in, a matplotlib figure out. Nothing here knows a model."""

from textwrap import fill
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.errors import require
from moe_lib.tracing import Reading
from moe_lib.validation import Count, Natural, checked
from moe_lib.views.explorer.layer_facts import layer_of, require_choice
from moe_lib.views.explorer.load_charts import (
    draw_affinities,
    draw_all_loads,
    draw_load,
    load_figure,
)
from moe_lib.views.explorer.token_strip import ROW, draw_tokens, lay_out, token_figure
from moe_lib.views.explorer.words import NO_TEXT, cut_words, layer_words, not_finite_words
from moe_lib.views.kit.lettering import WIDTH, drawable, plain_words, shortened

__all__ = ["affinity_figure", "explorer_figure", "load_figure", "token_figure"]


@checked
@plain_words
def affinity_figure(reading: Reading, layer: Natural, max_tokens: Count = 40) -> Figure:
    """Affinity of every token to every expert of one layer as a heat map; a dot marks the chosen
    experts."""
    part = layer_of(reading.trace, layer)
    wants = "a reading whose affinities were recorded: by the model, not by a serving engine"
    require(part.scores is not None, "reading", f"no scores in layer {layer}", wants)
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
    ax.set_yticks(
        range(shown), [shortened(label, 24) for label in reading.labels[:shown]], fontsize=8
    )
    ax.set_xlabel("expert")
    ax.set_xticks(range(0, part.n_experts, max(1, part.n_experts // 16)))
    ax.set_title(
        f"Layer {layer}: affinity of each token to each expert; dots are the chosen ones",
        fontsize=10,
    )
    figure.colorbar(image, ax=ax, label="affinity")
    return figure


@checked
@plain_words
def explorer_figure(
    reading: Reading,
    layer: Natural,
    rank: Count = 1,
    token: Natural | None = None,
    expert: Natural | None = None,
    *,
    compared: Reading | None = None,
    names: tuple[str, str] = ("First", "Second"),
    words: str = "",
    side: Literal[0, 1] = 0,
) -> Figure:
    """What the explorer shows: the tokens, the load of the layer's experts, and one token's
    affinities or, without a token, the load of all layers.

    compared  a second reading, drawn below the first and hatched beside its bars; names: of the
              two; words: how they compare
    side      the reading that `token` belongs to: 0, or 1 for the second
    """
    require_choice(layer_of(reading.trace, layer), rank, expert)
    require(side == 0 or compared is not None, "side", side, "0 without a compared reading")
    shown = [(reading, names[0] if compared else "")]
    if compared is not None and any(part.index == layer for part in compared.trace.layers):
        shown.append((compared, names[1]))
    own = shown[min(side, len(shown) - 1)][0]
    require(token is None or token < len(own), "token", token, f"below {len(own)}, or None")
    lines = [lay_out(one) for one, _ in shown]
    caption = NO_TEXT
    if len(reading):
        first = layer_words(reading, reading.trace.layer(layer), rank)
        notes = (cut_words(reading), not_finite_words(reading), words)
        caption = " ".join(filter(None, (first, *notes)))
    caption = fill(drawable(caption), 125)
    heights = [*(0.35 + ROW * len(rows) for rows in lines), 2.4, 0.25 * (1 + caption.count("\n"))]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for place, ((one, name), rows) in enumerate(zip(shown, lines, strict=True)):
        own_rank = min(rank, one.trace.layer(layer).experts.shape[-1])
        draw_tokens(figure.add_subplot(grid[place, :]), one, layer, own_rank, expert, rows, name)
    other = compared.trace if len(shown) > 1 else None
    draw_load(figure.add_subplot(grid[-2, 0]), reading.trace, layer, expert, other, names)
    beside = figure.add_subplot(grid[-2, 1])
    if token is None or own.trace.layer(layer).scores is None:
        draw_all_loads(beside, reading.trace, layer)
    else:
        draw_affinities(beside, own, layer, token)
    below = figure.add_subplot(grid[-1, :])
    below.set_axis_off()
    below.text(0, 0.5, caption, fontsize=9, va="center", parse_math=False)
    return figure


def _say_empty(figure: Figure, ax: Axes) -> Figure:
    ax.set_axis_off()
    ax.text(0, 0.5, NO_TEXT)
    return figure
