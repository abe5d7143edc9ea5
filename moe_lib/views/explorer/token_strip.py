"""The tokens of a text in lines, each in the colour and with the number of its expert."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_lib.tracing import Reading
from moe_lib.validation import Count, Natural, checked
from moe_lib.views.explorer.layer_facts import choices_of, layer_of, require_choice
from moe_lib.views.explorer.words import NO_TEXT
from moe_lib.views.kit.lettering import MONO, WIDTH, columns, plain_words, shortened
from moe_lib.views.kit.palette import SOFT_INK, expert_colour
from moe_lib.views.kit.wording import ordinal

ROW = 0.44  # inches per line of tokens
_LINE = 100  # columns of the strip per line
_MAX_ROWS = 9


@checked
@plain_words
def token_figure(
    reading: Reading, layer: Natural, rank: Count = 1, expert: Natural | None = None
) -> Figure:
    """The tokens of a text, each in the colour and with the number of the expert it is sent to.

    With `expert`, only the tokens that choose it at any rank are coloured.
    """
    require_choice(layer_of(reading.trace, layer), rank, expert)
    rows = lay_out(reading)
    figure = Figure(figsize=(WIDTH, 0.5 + ROW * len(rows)), layout="constrained")
    draw_tokens(figure.subplots(), reading, layer, rank, expert, rows)
    return figure


def lay_out(reading: Reading) -> list[list[tuple[int, float, float]]]:
    """Lay the tokens out in lines: per line (token, left, width) in characters; at most _MAX_ROWS
    lines."""
    rows, left = [[]], 0.0
    for token, label in enumerate(reading.labels):
        width = max(2, columns(shortened(label))) + 0.8
        if left + width > _LINE:
            rows, left = [*rows, []], 0.0
        rows[-1].append((token, left, width))
        left += width + 0.3
        if "⏎" in label:
            rows, left = [*rows, []], 0.0
    return rows[:_MAX_ROWS]


def draw_tokens(
    ax: Axes,
    reading: Reading,
    layer: int,
    rank: int,
    expert: int | None,
    rows: list,
    name: str = "",
) -> None:
    """The tokens in the lines of `lay_out`; `name` says which of two readings it is."""
    part = reading.trace.layer(layer)
    ax.set(xlim=(0, _LINE), ylim=(len(rows), 0))
    ax.set_axis_off()
    chosen = "coloured by" if expert is None else f"that choose expert {expert}, else"
    of = f"{shortened(name, 60)}, layer" if name else "Layer"
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
        ax.set_title(
            f"and {len(reading) - last} more tokens", fontsize=9, loc="right", color=SOFT_INK
        )


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
    ax.text(
        left + width / 2,
        line + 0.36,
        shortened(label),
        ha="center",
        va="center",
        color=ink,
        fontsize=8,
        family=MONO,
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
