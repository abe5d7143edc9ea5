"""The ledger as a picture: for each part of the article, how many statements have which verdict."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from moe_course.article.ledger.rows import VERDICTS, Ledger, Row
from moe_course.article.ledger.wording import MARKS, PARTS
from moe_lib.views.kit.lettering import WIDTH, plain_words
from moe_lib.views.kit.palette import BLUE, GREY, ORANGE, VERMILION, contrast

COLOURS = {"holds": BLUE, "holds if": ORANGE, "false": VERMILION, "not checkable": GREY}
HATCHES = {"holds": "", "holds if": "//", "false": "xx", "not checkable": ".."}


@plain_words
def ledger_figure(ledger: Ledger, shown: Sequence[Row], filters: str = "") -> Figure:
    """A bar for each part, its pieces the verdicts of the rows `shown`; filters: in words."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    ax = figure.subplots()
    counts = [ledger.counts([row for row in shown if row.part == part]) for part in ledger.parts]
    left = [0] * len(counts)
    for verdict in VERDICTS:
        pieces = [one[verdict] for one in counts]
        label = f"{MARKS[verdict]} {verdict}: {sum(pieces)}"
        style = dict(color=COLOURS[verdict], edgecolor="white", hatch=HATCHES[verdict], lw=1)
        ax.barh(range(len(counts)), pieces, 0.72, left, label=label, **style)
        for y, (start, piece) in enumerate(zip(left, pieces, strict=True)):
            if piece:
                _number(ax, start + piece / 2, y, piece, COLOURS[verdict])
        left = [start + piece for start, piece in zip(left, pieces, strict=True)]
    ax.set_yticks(range(len(counts)), [f"{part} {PARTS[part][0]}" for part in ledger.parts])
    ax.set(ylim=(len(counts) - 0.4, -0.6), xlabel="statements", xlim=(0, max(*left, 1) * 1.02))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.spines[["top", "right"]].set_visible(False)
    title = f"{len(shown)} of {len(ledger.rows)} statements of the article"
    figure.suptitle(f"{title}{f' ({filters})' if filters else ''}", fontsize=11, weight="bold")
    figure.legend(loc="outside lower center", ncols=len(VERDICTS), fontsize=9, frameon=False)
    return figure


def _number(ax, x: float, y: float, number: int, colour: str) -> None:
    ink = max(("#000000", "#ffffff"), key=lambda one: contrast(one, colour))
    back = dict(boxstyle="round,pad=0.15", facecolor=colour, edgecolor="none")
    ax.text(x, y, str(number), ha="center", va="center", fontsize=9, color=ink, bbox=back)
