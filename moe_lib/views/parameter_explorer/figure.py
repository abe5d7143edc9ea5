"""The parameter explorer as a picture: stacked parameters, FLOPs, bytes, and experts touched
against batch size."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.views.kit.lettering import plain_words
from moe_lib.views.kit.palette import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION
from moe_lib.views.parameter_explorer.account import (
    BATCHES,
    CONTEXT,
    PARTS,
    ParameterAccount,
    amount,
    operations,
    size_words,
)

# Okabe and Ito's colours; the parts also differ in hatching. The smaller panels: this model, the
# dense one, all of it.
COLOURS = dict(zip(PARTS, (GREY, BLUE, SKY, GREEN, ORANGE), strict=True))
HATCHES = dict(zip(PARTS, ("", "//", "..", "xx", "--"), strict=True))
THIS, DENSE, ALL = VERMILION, BLUE, GREY


@plain_words
def parameter_figure(
    title: str, account: ParameterAccount, batch_size: int, precision: str
) -> Figure:
    """The account of a model and a batch of `batch_size` tokens -> figure."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    figure.suptitle(title, fontsize=11, weight="bold")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))
    _draw_parts(top.subplots(), account)
    left, middle, right = bottom.subplots(1, 3)
    flops = (account.flops, account.dense_flops, account.all_flops)
    names = ("one token", "dense, equal\nactive", "every\nexpert on")
    _draw_bars(
        left,
        f"FLOPs per token ({CONTEXT:,} in view)",
        operations,
        dict(zip(names, flops, strict=True)),
    )
    tokens = "1 token" if batch_size == 1 else f"{batch_size:,} tokens"
    read = (account.bytes_read, account.dense_bytes_read, account.bytes_stored)
    names = ("one step", "dense, equal\nactive", "all weights")
    _draw_bars(
        middle,
        f"weights read, {tokens}, {precision}",
        size_words,
        dict(zip(names, read, strict=True)),
    )
    _draw_curve(right, account, batch_size)
    return figure


def _draw_parts(ax: Axes, account: ParameterAccount) -> None:
    bars = {"stored": account.stored, "used by one token": account.used}
    left = [0.0, 0.0]
    for part in PARTS:
        widths = [parts[part] for parts in bars.values()]
        ax.barh(
            list(bars),
            widths,
            left=left,
            color=COLOURS[part],
            hatch=HATCHES[part],
            edgecolor="black",
            lw=0.6,
            label=part,
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    ax.barh(["dense, equal active"], [account.dense_total], color=DENSE, edgecolor="black", lw=0.6)
    left.append(account.dense_total)
    for row, total in enumerate(left):
        ax.text(total, row, f"  {amount(total)}", va="center")
    ax.set(xlim=(0, max(left) * 1.12), xticks=[], title="parameters")
    ax.title.set_fontsize(10)
    ax.invert_yaxis()
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.legend(ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False)


def _draw_bars(ax: Axes, title: str, words, values: dict[str, float]) -> None:
    ax.barh(list(values), list(values.values()), color=(THIS, DENSE, ALL), height=0.6)
    for row, value in enumerate(values.values()):
        ax.text(value, row, f" {words(value)}", va="center", fontsize=8)
    ax.set(xlim=(0, max(values.values()) * 1.5), xticks=[])
    ax.set_title(title, fontsize=9)
    ax.tick_params(axis="y", labelsize=8)
    ax.invert_yaxis()
    ax.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_curve(ax: Axes, account: ParameterAccount, batch_size: int) -> None:
    experts = account.curve[-1] if account.curve[-1] else 1.0
    ax.plot(BATCHES, account.curve, color=THIS)
    ax.plot([batch_size], [account.distinct], "o", color="black")
    ax.annotate(
        f"{account.distinct:.1f}",
        (batch_size, account.distinct),
        textcoords="offset points",
        xytext=(6, -12),
        fontsize=9,
    )
    ax.set_xscale("log", base=2)
    ax.set_xticks((1, 8, 64, 512, 4096), ("1", "8", "64", "512", "4096"))
    ax.set(ylim=(0, experts * 1.1), xlabel="tokens in the batch")
    ax.set_title("experts touched per layer, on average", fontsize=9)
    ax.grid(alpha=0.3)
