"""Pictures of chapter 03: attention maps, rotary scores, what a change reaches, and parameters."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Natural, checked, require_tensor
from moe_lib.views.kit.lettering import WIDTH, plain_words, shortened
from moe_lib.views.kit.palette import BLUE, GREEN, MID_GREY, ORANGE, PURPLE, VERMILION

_MARKERS, _STYLES = "osD^v", ("-", "--", "-.", ":", (0, (1, 4)))
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, MID_GREY)


@checked
@plain_words
def weights_figure(maps: Mapping[str, Tensor], every: Natural = 0) -> Figure:
    """Attention maps beside each other: a row per token that looks, a column per token looked at.

    maps    title -> weights (queries, keys); the smallest and the largest sum of a row is written
            below the title
    every   draw a line before every so many tokens: where a copy begins, say; 0: none

    Colours follow the square root of the weight, so that small weights show; the scale gives the
    weights.
    """
    require(len(maps) > 0, "maps", "none", "at least one")
    for name, weights in maps.items():
        require_tensor(f"maps[{name!r}]", weights, ("queries", "keys"))
    side = WIDTH / max(2, len(maps))
    figure = Figure(figsize=(side * len(maps), side * 1.02), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for ax, (name, weights) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(weights.detach().cpu().sqrt().numpy(), cmap="viridis", vmin=0, vmax=1)
        sums = weights.sum(-1)
        ax.set_title(f"{name}\nrow sums {sums.min():.2f} to {sums.max():.2f}", fontsize=10)
        ax.set_xlabel("token looked at")
        for place in range(every, len(weights), every) if every else ():
            ax.axvline(place - 0.5, color="white", lw=0.8, ls=":")
            ax.axhline(place - 0.5, color="white", lw=0.8, ls=":")
    axes[0].set_ylabel("token that looks")
    bar = figure.colorbar(image, ax=list(axes), shrink=0.7, ticks=[0, 0.1**0.5, 0.5, 1])
    bar.ax.set_yticklabels(["0", "0.1", "0.25", "1"])
    bar.set_label("weight")
    return figure


@checked
@plain_words
def scale_figure(
    sizes: Sequence[int],
    spread: Sequence[float],
    unscaled: Sequence[float],
    scaled: Sequence[float],
) -> Figure:
    """Why scores are divided by the root of the head size: a value per size, measured.

    spread            standard deviation of a score, beside the curve of the root
    unscaled, scaled  the largest of a query's weights, without the division and with it
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    curve = [size**0.5 for size in range(1, max(sizes) + 1)]
    left.plot(range(1, max(sizes) + 1), curve, "--", color=MID_GREY)
    left.plot(sizes, spread, "o", color=BLUE)
    left.set(xlabel="head size d", ylabel="standard deviation of a score")
    left.annotate("√d", (max(sizes) * 0.62, (max(sizes) * 0.7) ** 0.5), ha="right", color=MID_GREY)
    place = (sizes[-2], spread[-2]) if len(sizes) > 1 else (sizes[0], spread[0])
    left.annotate("measured", place, (10, -12), "data", "offset points", color=BLUE)
    for values, marker, colour, name in (
        (unscaled, "o-", VERMILION, "not divided"),
        (scaled, "s--", BLUE, "divided by √d"),
    ):
        right.plot(sizes, values, marker, color=colour)
        right.annotate(name, (sizes[-1], values[-1]), (0, 9), "data", "offset points")
        right.texts[-1].set(ha="right", color=colour)
    right.set_xscale("log", base=2)
    right.set_xticks(sizes, sizes)
    right.set(xlabel="head size d", ylabel="largest weight of a query, mean", ylim=(0, 1.12))
    return figure


@checked
@plain_words
def distance_figure(
    tables: Mapping[str, Tensor], distances: Sequence[int], starts: Sequence[int]
) -> Figure:
    """Scores against the distance of query and key, from several starting places.

    tables   title -> scores (starts, distances)

    Each start has a marker of its own, set at other distances than the rest: where curves coincide
    the markers stand on one line.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        require_tensor(f"tables[{title!r}]", table, (len(starts), len(distances)))
        for n, (start, row) in enumerate(zip(starts, table.tolist(), strict=True)):
            looks = dict(color=_COLOURS[n % 5], marker=_MARKERS[n % 5], ls=_STYLES[n % 5], lw=1.3)
            ax.plot(distances, row, markevery=(3 * n, 16), ms=6, label=f"key at {start}", **looks)
        ax.set(title=title, xlabel="distance in tokens")
    axes[0].set_ylabel("score")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside right center")
    return figure


@checked
@plain_words
def reach_figure(
    changes: Mapping[str, Tensor], words: Sequence[str], place: Natural, most: float = 0.6
) -> Figure:
    """How far the replacement of one word reaches: a bar per word, a panel per model.

    changes   name of the model -> share of probability that moved (words,)
    place     the word that was replaced: hatched, in another colour
    """
    require(place < len(words), "place", place, f"a number from 0 to {len(words) - 1}")
    figure = Figure(figsize=(WIDTH, 2.1 * len(changes)), layout="constrained")
    axes = figure.subplots(len(changes), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, change) in zip(axes, changes.items(), strict=True):
        require_tensor(f"changes[{name!r}]", change, (len(words),))
        bars = ax.bar(range(len(words)), change.tolist(), color=BLUE)
        bars[place].set(facecolor=ORANGE, hatch="///", edgecolor="black")
        ax.set(ylabel="share moved", title=f"{name} model", ylim=(0, most))
        ax.axvline(place, color=MID_GREY, lw=0.8, ls=":")
    axes[-1].set_xticks(range(len(words)), [shortened(word, 16) for word in words], rotation=45)
    for label in axes[-1].get_xticklabels():
        label.set_ha("right")
    axes[0].annotate("replaced", (place, most * 0.9), (6, 0), "data", "offset points", va="center")
    return figure


@checked
@plain_words
def parts_figure(models: Mapping[str, Mapping[str, int]]) -> Figure:
    """Where the parameters are: a bar per model, cut into the shares of its parts; the total is
    written at its end. models: name -> part -> parameters, the same parts for each."""
    require(len(models) > 0, "models", "none", "at least one")
    parts = list(next(iter(models.values())))
    for name, counts in models.items():
        require(list(counts) == parts, f"models[{name!r}]", list(counts), f"the parts {parts}")
        require(sum(counts.values()) > 0, f"models[{name!r}]", 0, "parameters")
    figure = Figure(figsize=(WIDTH, 1.2 + 0.5 * len(models)), layout="constrained")
    ax = figure.subplots()
    looks = ((MID_GREY, ""), (BLUE, "//"), (ORANGE, ".."), (GREEN, "xx"), (PURPLE, "\\\\"))
    left, totals = [0.0] * len(models), [sum(counts.values()) for counts in models.values()]
    for part, (colour, hatch) in zip(parts, looks, strict=False):
        shares = [c[part] / total for c, total in zip(models.values(), totals, strict=True)]
        style = dict(color=colour, hatch=hatch, edgecolor="white", label=part)
        ax.barh(list(models), shares, left=left, **style)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    for row, total in enumerate(totals):
        said = f"{total / 1e9:.1f}B" if total > 1e9 else f"{total / 1e6:.2f}M"
        ax.annotate(said, (1.01, row), va="center")
    ax.set(xlim=(0, 1.1), xlabel="share of the parameters (norms left out)")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(ncols=len(parts), loc="outside upper center", frameon=False)
    return figure
