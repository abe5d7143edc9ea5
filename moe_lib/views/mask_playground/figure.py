"""The mask playground as a picture: the text with its gaps, and bars of the predictions at each
masked position."""

from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_lib.tracing.masked_words import rows_of
from moe_lib.views.kit.finite import LOST
from moe_lib.views.kit.lettering import MONO, WIDTH, columns, plain_words, shortened
from moe_lib.views.kit.palette import BLUE, DARK_INK, VERMILION
from moe_lib.views.kit.wording import percent
from moe_lib.views.mask_playground.words import is_lost

# Two of Okabe and Ito's colours, 3:1 or more on light and on dark ground; the true token also
# carries a tick.
GUESS, TRUE = BLUE, VERMILION
COLUMNS, MAX_CARDS = 3, 6
_CHARACTER = 0.602 * 10 / 72  # inches of one DejaVu Sans Mono character at 10 points
_LINE, _ROW, _CARD, _MAX_LINES = 112, 0.27, 1.75, 8


@plain_words
def playground_figure(
    words: list, masked: list[int], predictions: list, loss: float | None
) -> Figure:
    """Words and predictions of `moe_lib.tracing.masked_words` -> figure; at most MAX_CARDS
    positions are drawn."""
    lines = _lay_out(words)
    cards = predictions[:MAX_CARDS]
    card_rows = -(-len(cards) // COLUMNS)
    strip = _ROW * max(1, len(lines)) + 0.1
    height = 0.45 + strip + _CARD * card_rows + 0.1
    figure = Figure(figsize=(WIDTH, height))
    title = (
        "Nothing is masked yet"
        if loss is None
        else f"Loss of the masked positions: {loss:.2f} nats per token"
        if isfinite(loss)
        else f"Loss of the masked positions: {LOST}"
    )
    if len(predictions) > len(cards):
        title += f" (the first {len(cards)} of {len(predictions)} are drawn)"
    figure.text(0.02, 1 - 0.22 / height, title, fontsize=11, weight="bold", va="center")
    ax = figure.add_axes((0.02, 1 - (0.4 + strip) / height, 0.96, strip / height))
    _draw_text(ax, words, lines, masked)
    for number, prediction in enumerate(cards):
        row, column = divmod(number, COLUMNS)
        left = 0.02 + column * 0.327
        bottom = height - 0.45 - strip - _CARD * (row + 1) + 0.12
        box = (left + 0.125, bottom / height, 0.185, (_CARD - 0.52) / height)
        _draw_card(figure.add_axes(box), words, prediction)
    return figure


def _lay_out(words: list) -> list[list[tuple[int, int]]]:
    """Lines of (word, column in characters); line ends and spaces of the text are kept."""
    lines, column = [[]], 0
    for number, word in enumerate(words):
        newline = "\n" in word.gap
        column = (
            len(word.gap.rsplit("\n", 1)[-1].expandtabs(4)) if newline else column + len(word.gap)
        )
        if newline or column + _width(word) > _LINE:
            lines.append([])
            column = column if newline else 0
        lines[-1].append((number, column))
        column += _width(word)
    return [line for line in lines if line][:_MAX_LINES]


def _width(word) -> int:
    return columns(shortened(word.text, _LINE))


def _draw_text(ax: Axes, words: list, lines: list, masked: list[int]) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 0.96 * WIDTH / _CHARACTER)
    ax.set_ylim(max(1, len(lines)), 0)
    for y, line in enumerate(lines):
        for number, column in line:
            text, hidden = shortened(words[number].text, _LINE), number in masked
            if hidden:
                ax.add_patch(
                    Rectangle(
                        (column - 0.15, y + 0.1), columns(text) + 0.3, 0.8, facecolor=DARK_INK
                    )
                )
            ax.text(
                column,
                y + 0.5,
                text,
                family=MONO,
                fontsize=10,
                va="center",
                parse_math=False,
                color="white" if hidden else "black",
            )


def _draw_card(ax: Axes, words: list, prediction) -> None:
    rows = [] if is_lost(prediction) else rows_of(prediction)
    if not rows:
        ax.text(0, 0.5, LOST, va="center", fontsize=8)
    ax.barh(
        range(len(rows)),
        [row["probability"] for row in rows],
        height=0.7,
        color=[TRUE if row["true"] else GUESS for row in rows],
    )
    ax.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    ax.set_xlim(0, 1.35)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    for y, row in enumerate(rows):
        ax.text(row["probability"] + 0.02, y, percent(row["probability"]), va="center", fontsize=8)
        label = shortened(row["label"], 14) + (" ✓" if row["true"] else "")
        ax.text(
            -0.04,
            y,
            label,
            ha="right",
            va="center",
            fontsize=8,
            family=MONO,
            parse_math=False,
        )
    part = f", {prediction.part}" if prediction.part else ""
    ax.set_title(
        f"hidden: {shortened(words[prediction.word].text, 18)}{part}",
        fontsize=9,
        x=-0.04,
        ha="center",
        parse_math=False,
    )
