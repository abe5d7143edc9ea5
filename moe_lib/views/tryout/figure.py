"""The try-out box as a picture: the text with its answer marked, bars, and the experts of the
tokens behind it."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_lib.tuning.tried_text import TriedText
from moe_lib.views.kit.finite import finite
from moe_lib.views.kit.lettering import MONO, WIDTH, columns, drawable, plain_words, shortened
from moe_lib.views.kit.palette import BLUE, MID_GREY, YELLOW, expert_colour
from moe_lib.views.kit.wording import percent

BAR, FIRST = MID_GREY, BLUE
_LINE, _MAX_LINES, _MAX_BARS, _MAX_TOKENS = 118, 9, 8, 14
_CHARACTER = 0.602 * 9.5 / 72  # inches of one DejaVu Sans Mono character at 9.5 points


@plain_words
def tryout_figure(text: str, question: str | None, result: TriedText | None) -> Figure:
    """What the box shows; long texts and lists are cut, and say so."""
    lines = _lines(text)
    bars = result.bars[:_MAX_BARS] if result else ()
    layers = list(result.n_experts) if result else []
    strip = 0.24 * max(1, len(lines)) + 0.1
    lower = max(0.3 * len(bars) + 0.4, 0.3 * len(layers) + 0.9) if result else 0
    head = 0.75 if question else 0.45
    height = head + strip + lower + 0.15
    figure = Figure(figsize=(WIDTH, height))
    title = (
        "Nothing has been asked yet"
        if result is None
        else result.no_answer or f"Answer: {result.answer}"
    )
    title = drawable(title)[:130]
    figure.text(
        0.02, 1 - 0.22 / height, title, fontsize=11, weight="bold", va="center", parse_math=False
    )
    if question:
        figure.text(
            0.02,
            1 - 0.52 / height,
            drawable(f"Question: {question}")[:140],
            fontsize=9.5,
            va="center",
            parse_math=False,
        )
    ax = figure.add_axes((0.02, 1 - (head + strip) / height, 0.96, strip / height))
    _draw_text(ax, text, lines, result.span if result else None)
    if result:
        _draw_bars(
            figure.add_axes((0.24, 0.15 / height, 0.2, (0.3 * len(bars)) / height)),
            bars,
            result.answer,
        )
        if layers:
            _draw_routes(
                figure.add_axes((0.52, 0.15 / height, 0.46, (0.3 * len(layers) + 0.7) / height)),
                result,
            )
    return figure


def _lines(text: str) -> list[tuple[int, int]]:
    """(start, end) of each line, broken at spaces where there are some."""
    lines, start = [], 0
    while start < len(text) and len(lines) < _MAX_LINES:
        newline = text.find("\n", start, start + _LINE)
        end = newline if newline >= 0 else min(len(text), start + _LINE)
        if newline < 0 and end < len(text) and (space := text.rfind(" ", start, end)) > start:
            end = space
        lines.append((start, end))
        start = end + (end < len(text) and text[end] in " \n")
    return lines


def _draw_text(ax: Axes, text: str, lines: list, span: tuple[int, int] | None) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 0.96 * WIDTH / _CHARACTER)
    ax.set_ylim(max(1, len(lines)), 0)
    for y, (start, end) in enumerate(lines):
        more = " …" if y == _MAX_LINES - 1 and end < len(text) else ""
        cuts = (start, start, end)
        if span and span[0] < end and span[1] > start:
            cuts = (max(span[0], start), min(span[1], end), end)
            left = columns(drawable(text[start : cuts[0]]))
            width = columns(drawable(text[cuts[0] : cuts[1]]))
            ax.add_patch(
                Rectangle(
                    (left - 0.2, y + 0.08),
                    width + 0.4,
                    0.84,
                    facecolor=YELLOW,
                    edgecolor="black",
                    lw=0.8,
                )
            )
        left = 0
        for part in (text[start : cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] : end] + more):
            style = {"family": MONO, "fontsize": 9.5, "va": "center", "parse_math": False}
            ax.text(left, y + 0.5, drawable(part), **style)
            left += columns(drawable(part))


def _draw_bars(ax: Axes, bars, answer: str) -> None:
    chosen = [name.strip("“”") == answer for name, _ in bars]
    ax.barh(
        range(len(bars)),
        [finite(share) or 0 for _, share in bars],
        height=0.7,
        color=[FIRST if c else BAR for c in chosen],
    )
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.set_xlim(0, 1.3)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    for y, (name, share) in enumerate(bars):
        ax.text((finite(share) or 0) + 0.02, y, percent(share), va="center", fontsize=8)
        label = shortened(name)
        ax.text(-0.04, y, label, ha="right", va="center", fontsize=8, parse_math=False)


def _draw_routes(ax: Axes, result: TriedText) -> None:
    ax.set_axis_off()
    layers, routes = list(result.n_experts), result.routes[:_MAX_TOKENS]
    ax.set_xlim(-1.2, _MAX_TOKENS)
    ax.set_ylim(len(layers) - 0.4, -2.3)
    more = (
        ""
        if len(routes) == len(result.routes)
        else f", the first {len(routes)} of {len(result.routes)}"
    )
    ax.text(
        -1.2,
        -2.0,
        f"Experts chosen by {result.routes_of}{more}",
        fontsize=8.5,
        weight="bold",
        va="center",
    )
    for x, route in enumerate(routes):
        ax.text(
            x + 0.5,
            -0.65,
            shortened(route.text, 9),
            fontsize=7,
            ha="left",
            va="bottom",
            rotation=35,
            rotation_mode="anchor",
            parse_math=False,
        )
    for y, layer in enumerate(layers):
        ax.text(-0.15, y, f"layer {layer}", fontsize=7.5, ha="right", va="center")
        for x, route in enumerate(routes):
            experts = route.experts[layer]
            for rank, (expert, _) in enumerate(experts):
                colour, width = expert_colour(expert), 0.92 / len(experts)
                ax.add_patch(
                    Rectangle(
                        (x + 0.04 + rank * width, y - 0.4), width, 0.8, facecolor=colour.fill, lw=0
                    )
                )
                ax.text(
                    x + 0.04 + (rank + 0.5) * width,
                    y,
                    str(expert),
                    fontsize=6.5,
                    ha="center",
                    va="center",
                    color=colour.text,
                )
