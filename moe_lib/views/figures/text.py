"""Pictures of chapter 01: what texts cost in tokens, padding and packing, and the two kinds of
batch."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from moe_lib.errors import is_number, require
from moe_lib.text.packing import Packed
from moe_lib.validation import Count, Natural, checked, require_tensor
from moe_lib.views.figures.arguments import require_numbers
from moe_lib.views.kit.lettering import WIDTH, named, plain_words
from moe_lib.views.kit.palette import expert_colour

_PICKED, _BLANK, _PLAIN = "#fbe3ad", "#eeeeee", "#cfe8f7"
_BLANK_WORD = "-100"


@checked
@plain_words
def cost_figure(cost: pd.DataFrame) -> Figure:
    """Tokens per character as a heat map; the cheapest of each column has a frame.

    cost (learners, readers): rows are the texts that merges were learnt from, columns the texts
    that are read.
    """
    require_numbers("cost", cost)
    relative = cost / cost.min()
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(relative, cmap="cividis_r", vmin=1, vmax=2, aspect="auto")
    for row in range(cost.shape[0]):
        for column in range(cost.shape[1]):
            ink = "white" if relative.iat[row, column] > 1.5 else "black"
            number = f"{cost.iat[row, column]:.2f}"
            ax.text(column, row, number, ha="center", va="center", fontsize=9, color=ink)
            if relative.iat[row, column] == 1:
                frame = Rectangle(
                    (column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor="black", lw=2
                )
                ax.add_patch(frame)
    ax.set_xticks(range(cost.shape[1]), cost.columns, rotation=30, ha="right")
    ax.set_yticks(range(cost.shape[0]), cost.index)
    ax.set(xlabel="text that is read (held out)", ylabel="merges learnt from")
    ax.set_title("Tokens per character; the cheapest of each column has a frame", fontsize=10)
    figure.colorbar(image, ax=ax, label="times the cheapest of the column (2 and more: darkest)")
    return figure


@checked
@plain_words
def vocabulary_figure(curves: pd.DataFrame) -> Figure:
    """Tokens per byte against the size of the vocabulary. curves (sizes, texts): the index holds
    the sizes."""
    require_numbers("curves", curves)
    sizes = all(is_number(size) and size > 0 for size in curves.index)
    require(sizes, "curves", list(curves.index), "sizes above 0 as its index")
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    ax = figure.subplots()
    looks = [("o", "-"), ("s", "--"), ("D", "-."), ("^", ":")]
    for i, name in enumerate(curves):
        marker, style = looks[i % len(looks)]
        ax.plot(curves.index, curves[name], marker=marker, linestyle=style, label=named(name))
    ax.set_xscale("log", base=2)
    ax.set_xticks(curves.index, curves.index)
    ax.minorticks_off()
    ax.set(xlabel="tokens in the vocabulary (log scale)", ylabel="tokens per byte", ylim=(0, 1.05))
    ax.legend()
    return figure


@checked
@plain_words
def packing_figure(lengths: Sequence[Count], packed: Packed, end_token_id: Natural) -> Figure:
    """The same documents padded (left) and packed (right).

    lengths: number of tokens of each document, without an end token. packed: what `pack` made of
    them.
    """
    require(len(lengths) > 0, "lengths", lengths, "a length at least")
    documents = 1 + int(packed.documents.max()) if packed.documents.numel() else 0
    wants = f"those of the {len(lengths)} documents of lengths, or of the first of them"
    require(0 < documents <= len(lengths), "packed", f"{documents} documents", wants)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    longest = max(lengths)
    left.barh(
        range(len(lengths)), longest, color="white", edgecolor="grey", hatch="////", linewidth=0.5
    )
    for row, length in enumerate(lengths):
        _draw_run(left, row, 0, length, row)
    for row, owners in enumerate(packed.documents.tolist()):
        for document in sorted(set(owners)):
            _draw_run(right, row, owners.index(document), owners.count(document), document)
        for column in (packed.input_ids[row] == end_token_id).nonzero().flatten().tolist():
            right.barh(row, 1, left=column, color="black")
    padding = 1 - sum(lengths) / (len(lengths) * longest)
    left.set_title(
        f"Padding ({len(lengths)}, {longest}): {padding:.0%} is padding (hatched)", fontsize=10
    )
    right.set_title(
        f"Packing {tuple(packed.input_ids.shape)}: none; black marks an end", fontsize=10
    )
    for ax in (left, right):
        ax.invert_yaxis()
        ax.set(xlabel="column (token)", ylabel="row")
    return figure


def _draw_run(ax: Axes, row: int, start: int, length: int, document: int) -> None:
    colour = expert_colour(document)
    ax.barh(row, length, left=start, color=colour.fill, edgecolor="black", linewidth=0.8)
    if length > 4:
        ax.text(
            start + length / 2,
            row,
            document,
            ha="center",
            va="center",
            fontsize=9,
            color=colour.text,
        )


@checked
@plain_words
def batch_figure(lines: Mapping[str, Sequence[str]], picked: Tensor) -> Figure:
    """Lines of tokens, one box per token, above each other.

    lines: name -> its words, all of one length. picked (length,) bool: the hidden places, with a
    thick frame in the lines whose name starts with "masked". The word "-100" is drawn grey.
    ValueError if lengths differ.
    """
    require_tensor("picked", picked, ("length",), bool)
    require(len(lines) > 0, "lines", "none", "at least one line")
    for name, words in lines.items():
        wants = f"{len(picked)}, the length of picked"
        require(len(words) == len(picked), f"lines[{name!r}]", f"{len(words)} words", wants)
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    ax = figure.subplots()
    for y, (name, words) in enumerate(lines.items()):
        for x, word in enumerate(words):
            thick = name.startswith("masked") and bool(picked[x])
            face = _PICKED if thick else _BLANK if word == _BLANK_WORD else _PLAIN
            ax.add_patch(
                Rectangle(
                    (x, y), 0.94, 0.84, facecolor=face, edgecolor="black", lw=2.2 if thick else 0.5
                )
            )
            ax.text(x + 0.47, y + 0.42, word, ha="center", va="center", fontsize=8, color="black")
    ax.set(xlim=(-0.05, len(picked)), ylim=(len(lines), -0.1))
    ax.set_yticks([y + 0.42 for y in range(len(lines))], list(lines))
    ax.set_xticks([x + 0.47 for x in range(len(picked))], range(len(picked)))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure
