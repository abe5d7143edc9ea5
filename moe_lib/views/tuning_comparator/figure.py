"""The fine-tuning comparator as a picture: a table with intervals, curves, and quality by number of
labels."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_lib.tuning.comparison.results import Comparison
from moe_lib.views.kit.lettering import WIDTH, drawable, plain_words, shortened
from moe_lib.views.kit.palette import FAINT, RULE
from moe_lib.views.tuning_comparator.payload import chart_payload, table_payload

_COLUMNS = (
    ("mean", "mean", 0.50),
    ("interval", "95 % interval", 0.625),
    ("trainable", "trained", 0.735),
    ("forgetting", "forgetting", 0.86),
    ("gap", "gap", 1.0),
)


@plain_words
def comparator_figure(
    task: str,
    comparison: Comparison,
    shown: Comparison,
    known: list[str],
    methods: list[str],
    curve: str,
) -> Figure:
    """`shown` are the runs of the methods and the number of labels that are chosen, out of
    `comparison`."""
    table = table_payload(shown, known)
    charts = [
        chart for chart in chart_payload(comparison, shown, known, methods, curve) if chart["lines"]
    ]
    rows = max(1, len(table["rows"]))
    table_height = 0.27 * (rows + 1.9)
    top = 0.4 + table_height
    height = top + (2.55 if charts else 0.1)
    figure = Figure(figsize=(WIDTH, height))
    n_train = f", {int(shown.runs['n_train'].iloc[0])} labelled examples" if len(shown.runs) else ""
    title = drawable(f"{task}{n_train}: {table['metric']}, every seed, mean and 95 % interval")
    figure.text(
        0.02, 1 - 0.2 / height, title, fontsize=11, weight="bold", va="center", parse_math=False
    )
    ax = figure.add_axes((0.02, (height - top) / height, 0.96, table_height / height))
    _draw_table(ax, table)
    for number, chart in enumerate(charts):
        left = 0.07 + number * 0.5
        _draw_chart(
            figure.add_axes((left, 0.5 / height, 0.4 if len(charts) > 1 else 0.6, 1.75 / height)),
            chart,
        )
    return figure


def _draw_table(ax: Axes, table: dict) -> None:
    rows = table["rows"]
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows) + 0.4, -1.5)
    left, right = 0.24, 0.44  # of the quality column

    def x(place):
        return left + place * (right - left)

    for _, name, place in _COLUMNS:
        ax.text(place, -0.95, name, fontsize=8, weight="bold", ha="right", va="center")
    for y, row in enumerate(rows):
        text, quality, colour = row["text"], row["quality"], row["colour"]
        ax.plot([0.002, 0.034], [y, y], color=colour, ls=_stroke(row["dash"]), lw=1.8)
        ax.text(0.042, y, shortened(row["case"], 26), fontsize=9, va="center", parse_math=False)
        ax.axhline(y - 0.5, color=RULE, lw=0.6)
        if quality["ends"]:
            ax.plot(
                [x(end) for end in quality["ends"]],
                [y, y],
                color=colour,
                lw=4,
                alpha=0.45,
                solid_capstyle="butt",
            )
        ax.plot(
            [x(seed) for seed in quality["seeds"]],
            [y] * len(quality["seeds"]),
            "o",
            color=colour,
            markersize=3.5,
            markerfacecolor="white",
        )
        if quality["mean"] is not None:
            ax.plot([x(quality["mean"])] * 2, [y - 0.3, y + 0.3], color="black", lw=1.8)
        for column, _, place in _COLUMNS:
            ax.text(place, y, text[column], fontsize=8, ha="right", va="center")
    for place, name in table["ticks"]:
        ax.plot([x(place)] * 2, [-0.5, len(rows) - 0.4], color=FAINT, lw=0.6, zorder=0)
        ax.text(x(place), len(rows) - 0.2, name, fontsize=8, ha="center", va="top")


def _stroke(dash: str):
    """The dashes of an SVG line, in points, as matplotlib wants them: in widths of the line."""
    return (0, tuple(float(part) / 1.6 for part in dash.split())) if dash else "solid"


def _draw_chart(ax: Axes, chart: dict) -> None:
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_title(chart["title"], fontsize=9, loc="left")
    ax.set_xlabel(chart["x_name"], fontsize=8)
    ax.set_xticks([place for place, _ in chart["x"]], [name for _, name in chart["x"]], fontsize=8)
    ax.set_yticks([place for place, _ in chart["y"]], [name for _, name in chart["y"]], fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    for line in chart["lines"]:
        for points in line["thin"]:
            if points:
                ax.plot(*zip(*points, strict=True), color=line["colour"], lw=0.6, alpha=0.45)
        if line["points"]:
            mark = "o" if chart["x_name"] != "step" or len(line["points"]) < 15 else None
            ax.plot(
                *zip(*line["points"], strict=True),
                color=line["colour"],
                ls=_stroke(line["dash"]),
                lw=1.6,
                marker=mark,
                markersize=3.5,
            )
        for place, low, high in line["whiskers"]:
            ax.plot(
                [place, place],
                [low, high],
                color=line["colour"],
                lw=3,
                alpha=0.4,
                solid_capstyle="butt",
            )
