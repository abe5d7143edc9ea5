"""The cache calculator as a picture: bytes per token, bytes in total, and sequences that fit, of
four attentions."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.views.cache_calculator.scale import LogScale
from moe_lib.views.kit.lettering import plain_words
from moe_lib.views.kit.palette import BLUE, GREY, SKY, VERMILION

# Okabe and Ito's colours; the kinds also differ in hatching.
COLOURS = {"MHA": GREY, "GQA": SKY, "MQA": BLUE, "MLA": VERMILION}
HATCHES = {"MHA": "", "GQA": "..", "MQA": "//", "MLA": "xx"}


@plain_words
def cache_figure(
    title: str,
    rows: list[dict],
    memory: float,
    headings: tuple[str, str, str],
    scales: dict[str, LogScale],
) -> Figure:
    """One row per kind of attention, as `CacheCalculator` makes them; memory in bytes -> figure."""
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    figure.suptitle(title, fontsize=11, weight="bold")
    axes = figure.subplots(1, 3, sharey=True)
    for ax, heading, field in zip(axes, headings, ("token", "total", "fitting"), strict=True):
        _draw_bars(ax, heading, rows, field, scales[field])
    place = scales["total"].place(memory)
    axes[1].axvline(place, color="black", ls="--", lw=1.2)
    axes[1].text(place, -0.62, f" {memory / 1e9:.0f} GB", fontsize=8, va="center")
    said = "→ chosen kind;  * the model's own;  from one thin line to the next: ten times as much"
    figure.supxlabel(said, fontsize=8, x=0.99, ha="right")
    return figure


def _draw_bars(ax: Axes, heading: str, rows: list[dict], field: str, scale: LogScale) -> None:
    names = [
        ("→ " if row["chosen"] else "") + row["name"] + (" *" if row["own"] else "") for row in rows
    ]
    bars = ax.barh(
        names,
        [scale.place(row[field]) for row in rows],
        height=0.62,
        edgecolor="black",
        lw=0.6,
        color=[COLOURS[row["kind"]] for row in rows],
    )
    for place, (bar, row) in enumerate(zip(bars, rows, strict=True)):
        bar.set_hatch(HATCHES[row["kind"]])
        ax.text(
            1.04,  # beyond all bars: on no line
            place,
            f"{row[f'{field}_words']}",
            va="center",
            fontsize=9,
        )
    for tick in scale.ticks:
        ax.axvline(scale.place(tick), color="#8c8c8c", lw=0.7, zorder=0)
    ax.set(xlim=(0, 1.35), xticks=[], ylim=(len(rows) - 0.5, -0.85))
    ax.set_title(heading, fontsize=9)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
