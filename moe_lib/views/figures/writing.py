"""A text while it is written: under every token, the expert that each layer sent it to."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_lib.errors import require
from moe_lib.validation import Natural, checked
from moe_lib.views.kit.lettering import MONO, WIDTH, columns, plain_words, shortened
from moe_lib.views.kit.palette import SOFT_INK, expert_colour

_LINE = 92  # characters per line of tokens
_SHORT = 56  # the picture is at least so many characters wide: shorter lines are drawn larger
_MARGIN = 6  # characters to the left, for the names of the layers
_CHIP = 1.5  # least width of a chip per layer of numbers, in characters
_ROW = 0.17  # inches per line of text or numbers


@checked
@plain_words
def writing_figure(
    labels: Sequence[str],
    experts: Sequence[Sequence[Natural]],
    layers: Sequence[Natural],
    prompt: str = "",
) -> Figure:
    """Tokens in the order of writing, each above one box per layer: colour and number of its first
    expert.

    labels   one per token, with visible spaces
    experts  per token the number of its first expert in each of `layers`
    layers   the numbers of the layers, top to bottom
    prompt   what stood there before, drawn as the title

    Raises ValueError if there is no token, or a token without one expert per layer.
    """
    _require_rows(labels, experts, layers)
    lines = _lines(labels)
    rows = len(lines) * (len(layers) + 1.7)
    reach = max(_SHORT, *(left + width for line in lines for _, left, width in line[-1:]))
    scale = (_MARGIN + _LINE) / (_MARGIN + reach)  # of all sizes
    figure = Figure(figsize=(WIDTH, 0.5 + _ROW * scale * rows), layout="constrained")
    ax = figure.subplots()
    ax.set(xlim=(-_MARGIN, reach), ylim=(rows, 0))
    ax.set_axis_off()
    ax.set_title(f"“{prompt}” …" if prompt else "", fontsize=10, loc="left", parse_math=False)
    for number, line in enumerate(lines):
        top = number * (len(layers) + 1.7)
        for below, layer in enumerate(layers, start=1):
            ax.text(
                -0.5,
                top + below + 0.5,
                f"layer {layer}",
                ha="right",
                va="center",
                fontsize=7 * scale,
                color=SOFT_INK,
            )
        for token, left, width in line:
            _draw_token(ax, labels[token], experts[token], (left, top), width, scale)
    return figure


@checked
def writing_words(
    labels: Sequence[str],
    experts: Sequence[Sequence[Natural]],
    layers: Sequence[Natural],
    prompt: str = "",
) -> str:
    """What `writing_figure` shows, in words: the text, and how many experts came first in each
    layer. Arguments and errors as there."""
    _require_rows(labels, experts, layers)
    different = (len(set(firsts)) for firsts in zip(*experts, strict=True))
    used = ", ".join(f"layer {i} {n}" for i, n in zip(layers, different, strict=True))
    after = f" after “{prompt}”" if prompt else ""
    return (
        f"{len(labels)} tokens written{after}: {''.join(labels)}. Different first experts: {used}."
    )


def _require_rows(labels: Sequence, experts: Sequence[Sequence], layers: Sequence) -> None:
    require(len(labels) > 0, "labels", list(labels), "one token at least")
    wants = f"one for each of {len(labels)} tokens"
    require(len(experts) == len(labels), "experts", f"{len(experts)} rows", wants)
    for row in experts:
        wants = f"one expert for each of {len(layers)} layers"
        require(len(row) == len(layers), "experts", list(row), wants)


def _lines(labels: Sequence[str]) -> list[list[tuple[int, float, float]]]:
    """Per line (token, left, width) in characters; a token with a line end ends the line here,
    too."""
    lines, left = [[]], 0.0
    for token, label in enumerate(labels):
        width = max(2 * _CHIP, columns(shortened(label)) + 0.6)
        if lines[-1] and left + width > _LINE:
            lines, left = [*lines, []], 0.0
        lines[-1].append((token, left, width))
        left += width + 0.25
        if (
            "⏎" in label and len(lines[-1]) > 1 and token + 1 < len(labels)
        ):  # an empty line takes no line of its own
            lines, left = [*lines, []], 0.0
    return lines


def _draw_token(
    ax: Axes,
    label: str,
    experts: Sequence[int],
    corner: tuple[float, float],
    width: float,
    scale: float,
) -> None:
    left, top = corner
    middle = left + width / 2
    ax.text(
        middle,
        top + 0.5,
        shortened(label),
        ha="center",
        va="center",
        fontsize=8 * scale,
        family=MONO,
        parse_math=False,
    )
    for below, expert in enumerate(experts, start=1):
        colour = expert_colour(expert)
        ax.add_patch(
            Rectangle(
                (left, top + below + 0.03),
                width,
                0.94,
                facecolor=colour.fill,
                edgecolor="#00000055",
                linewidth=0.5,
            )
        )
        ax.text(
            middle,
            top + below + 0.5,
            str(expert),
            ha="center",
            va="center",
            fontsize=6.5 * scale,
            color=colour.text,
            weight="bold",
        )
