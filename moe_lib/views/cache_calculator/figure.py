"""The cache calculator as a picture: bytes per token, bytes in total, and sequences that fit, of
four attentions."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.views.kit.lettering import plain_words
from moe_lib.views.kit.palette import BLUE, GREY, SKY, VERMILION

# Okabe and Ito's colours; the kinds also differ in hatching.
COLOURS = {"MHA": GREY, "GQA": SKY, "MQA": BLUE, "MLA": VERMILION}
HATCHES = {"MHA": "", "GQA": "..", "MQA": "//", "MLA": "xx"}


@plain_words
def cache_figure(
    title: str, rows: list[dict], memory: float, headings: tuple[str, str, str]
) -> Figure:
    """One row per kind of attention, as `CacheCalculator` makes them; memory in bytes -> figure."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    figure.suptitle(title, fontsize=11, weight="bold")
    axes = figure.subplots(1, 3, sharey=True)
    for ax, heading, field in zip(axes, headings, ("token", "total", "fitting"), strict=True):
        _draw_bars(ax, heading, rows, field)
    widest = axes[1].get_xlim()[1]
    if memory < widest:
        axes[1].axvline(memory, color="black", ls="--", lw=1)
        axes[1].text(memory, -0.62, f" {memory / 1e9:.0f} GB", fontsize=8, va="center")
    else:
        axes[1].set_xlabel(f"all below the {memory / 1e9:.0f} GB of memory", fontsize=8)
    figure.supxlabel("→ chosen kind;  * the model's own", fontsize=8, x=0.99, ha="right")
    return figure


def _draw_bars(ax: Axes, heading: str, rows: list[dict], field: str) -> None:
    names = [
        ("→ " if row["chosen"] else "") + row["name"] + (" *" if row["own"] else "") for row in rows
    ]
    bars = ax.barh(
        names,
        [row[field] for row in rows],
        height=0.62,
        edgecolor="black",
        lw=0.6,
        color=[COLOURS[row["kind"]] for row in rows],
    )
    for place, (bar, row) in enumerate(zip(bars, rows, strict=True)):
        bar.set_hatch(HATCHES[row["kind"]])
        ax.text(
            row[field],
            place,
            f" {row[f'{field}_words']}",
            va="center",
            fontsize=9,
            zorder=4,
            bbox=dict(facecolor="white", edgecolor="none", pad=0.6, alpha=0.8),
        )
    most = max(row[field] for row in rows)
    ax.set(xlim=(0, 1.35 * most if most else 1), xticks=[], ylim=(len(rows) - 0.5, -0.85))
    ax.set_title(heading, fontsize=9)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
