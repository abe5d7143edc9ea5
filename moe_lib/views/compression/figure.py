"""The comparator as a picture: size, rise and changed choices of a group, and the chosen one by
domain."""

from matplotlib.figure import Figure

from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.kit.palette import BLUE, GREY, SKY, VERMILION

COLOURS = {"size": SKY, "rise": VERMILION, "flipped": GREY, "domain": BLUE}


@plain_words
def comparison_figure(title: str, rows: list[dict], domains: list[dict], headings: dict) -> Figure:
    """rows and domains as `CompressionComparator` makes them -> figure."""
    height = 1.2 + 0.27 * max(len(rows), len(domains), 4)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=11, weight="bold")
    *charts, last = figure.subplots(1, 4, width_ratios=(1.2, 1.2, 1, 1.2))
    names = [("→ " if row["chosen"] else "") + row["name"] for row in rows]
    for place, (ax, field) in enumerate(zip(charts, ("size", "rise", "flipped"), strict=True)):
        _bars(ax, names, [row[field] for row in rows], COLOURS[field], headings[field])
        if place:
            ax.set_yticklabels([])
    places = [one["place"] for one in domains]
    marks = [{"place": p, "words": one["words"]} for p, one in zip(places, domains, strict=True)]
    _bars(last, [one["domain"] for one in domains], marks, COLOURS["domain"], headings["domain"])
    return figure


def _bars(ax, names: list[str], marks: list[dict], colour: str, heading: str) -> None:
    ys = range(len(names))
    ax.barh(
        ys, [mark["place"] or 0 for mark in marks], 0.6, color=colour, edgecolor="black", lw=0.6
    )
    for y, mark in zip(ys, marks, strict=True):
        ax.text(1.04, y, mark["words"], va="center", fontsize=8)
    ax.set(xlim=(0, 1.7), ylim=(len(names) - 0.4, -0.6), xticks=[])
    ax.set_yticks(list(ys), names, fontsize=8)
    ax.set_title(heading, fontsize=9)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
