"""A comparison as tuning_comparator.js draws it: a table with intervals, and charts whose places
run from 0 to 1."""

import math

import pandas as pd

from moe_lib.tuning.comparison.results import Comparison, interval, thinned
from moe_lib.views.kit.palette import BLUE, GREEN, MID_GREY, VERMILION
from moe_lib.views.tuning_comparator.words import (
    comparator_words,
    interval_of,
    interval_text,
    metric_name,
    number,
    source_words,
    whole_number,
)

# Colours of at least 3:1 on light and on dark ground, each with every stroke: sixteen methods that
# differ.
COLOURS = (BLUE, VERMILION, GREEN, MID_GREY)
DASHES = ("", "5 3", "1.5 3", "8 2 2 2")
CURVE_NAMES = {
    "loss": "training loss (nats)",
    "validation_loss": "validation loss (nats)",
    "validation_accuracy": "validation accuracy",
    "balance_loss": "balance loss",
    "gradient_norm": "gradient norm",
    "max_violation": "MaxVio of the worst layer",
}


def style(case: str, known: list[str]) -> dict:
    """Colour and dashes of a method, the same whatever else is shown."""
    place = known.index(case)
    return {"colour": COLOURS[place % 4], "dash": DASHES[(place + place // 4) % 4]}


def known_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with NaN where a number is infinite: intervals and pictures leave NaN out."""
    return frame.replace([math.inf, -math.inf], math.nan)


def curve_names(comparison: Comparison) -> list[str]:
    """Columns of the curves that can be drawn."""
    curves = known_numbers(comparison.curves)
    return [name for name in CURVE_NAMES if name in curves and curves[name].notna().any()]


def nice_ticks(low: float, high: float, n: int = 4) -> list[float]:
    """Round numbers between low and high, about n of them: steps of 1, 2 or 5 times a power of
    ten."""
    if not high > low:
        return [low]
    rough = (high - low) / n
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def comparator_view(comparator) -> dict:
    """All that tuning_comparator.js draws."""
    shown = comparator.shown()
    words, warnings = comparator_words(comparator.task, shown)
    return {
        "tasks": list(comparator._comparisons),
        "task": comparator.task,
        "sizes": comparator.sizes,
        "n_train": comparator.n_train,
        "known": comparator.known_methods,
        "methods": comparator.methods,
        "curves": curve_names(comparator.comparison),
        "curve": comparator.curve,
        "table": table_payload(shown, comparator.known_methods),
        "charts": chart_payload(
            comparator.comparison,
            shown,
            comparator.known_methods,
            comparator.methods,
            comparator.curve,
        ),
        "words": words,
        "warnings": warnings,
        "source": source_words(comparator.comparison.about),
        "can_run": comparator.run is not None,
        "state": comparator.state,
        "status": comparator.status,
        "problem": comparator.problem,
        "progress": comparator.progress,
    }


def quality_range(shown: Comparison) -> tuple[float, float]:
    """The scale of the quality column: all seeds and intervals; not beyond 0 … 1 where all values
    lie in it."""
    values = shown.runs[shown.metric].astype(float).dropna()
    if values.empty:
        return 0.0, 1.0
    cases = dict.fromkeys(shown.runs["case"])
    found = [interval_of(shown, case, shown.metric) for case in cases]
    ends = [*values, *[end for one in found for end in (one.low, one.high) if not math.isnan(end)]]
    low, high = min(ends), max(ends)
    if values.between(0, 1).all():
        low, high = max(low, 0.0), min(high, 1.0)
    spread = (high - low) or 0.1
    return low - 0.04 * spread, high + 0.04 * spread


def table_payload(shown: Comparison, known: list[str]) -> dict:
    """Rows of the table; `quality` has places from 0 to 1 on one scale for all rows, `text` what is
    written."""
    if not len(shown.runs):
        return {"metric": metric_name(shown), "rows": [], "ticks": []}
    low, high = quality_range(shown)
    rows = []
    for case, runs in shown.runs.groupby("case", sort=False):
        columns = (
            shown.metric,
            "trainable",
            "forgetting",
            "gap",
            "routing_change",
            "seconds",
            "memory_mb",
        )
        found = {name: interval_of(shown, case, name) for name in columns}
        quality = found[shown.metric]
        ends = (
            []
            if math.isnan(quality.low)
            else [_place(end, low, high) for end in (quality.low, quality.high)]
        )
        rows.append(
            {
                "case": case,
                **style(case, known),
                "quality": {
                    "mean": None if math.isnan(quality.mean) else _place(quality.mean, low, high),
                    "ends": ends,
                    "seeds": [
                        _place(value, low, high)
                        for value in runs[shown.metric].astype(float).dropna()
                    ],
                },
                "text": {
                    "mean": number(quality.mean),
                    "interval": interval_text(quality),
                    "seeds": str(quality.n),
                    "trainable": whole_number(found["trainable"].mean),
                    **{
                        name: _with_interval(found[name], digits)
                        for name, digits in (("forgetting", 3), ("gap", 3), ("routing_change", 2))
                    },
                    "seconds": number(found["seconds"].mean, 1),
                    "memory": number(found["memory_mb"].mean, 0),
                },
            }
        )
    ticks = [[_place(tick, low, high), f"{tick:g}"] for tick in nice_ticks(low, high, 3)]
    return {"metric": metric_name(shown), "rows": rows, "ticks": ticks}


def chart_payload(
    comparison: Comparison, shown: Comparison, known: list[str], methods: list[str], curve: str
) -> list[dict]:
    """The curves of the runs on show, and quality by number of labels where there are several."""
    charts = []
    if curve and len(shown.curves):
        charts.append(_curve_chart(shown, known, curve))
    sizes = sorted(set(comparison.runs["n_train"]))
    if len(sizes) > 1:
        charts.append(_size_chart(comparison, known, methods, sizes))
    return charts


def _curve_chart(shown: Comparison, known: list[str], curve: str) -> dict:
    """A thick line, the mean over the seeds at the steps that all of them have; a thin one for each
    seed."""
    lines = []
    for case, rows in shown.curves.groupby("case", sort=False):
        seeds = [
            known_numbers(thinned(part)[["step", curve]]).dropna()
            for _, part in rows.groupby("seed")
        ]
        thin = [[(int(step), float(value)) for step, value in part.values] for part in seeds]
        joined = pd.concat(seeds).groupby("step")[curve].agg(["mean", "count"])
        mean = [
            (int(step), float(row["mean"]))
            for step, row in joined.iterrows()
            if row["count"] == len(seeds)
        ]
        lines.append(
            {
                "case": case,
                **style(case, known),
                "points": mean,
                "thin": thin if len(seeds) > 1 else [],
            }
        )
    every = [
        point for line in lines for points in (line["points"], *line["thin"]) for point in points
    ]
    if not every:
        return {"title": CURVE_NAMES[curve], "x_name": "step", "lines": [], "x": [], "y": []}
    x_range = (0, max(x for x, _ in every))
    return _placed(
        CURVE_NAMES[curve],
        "step",
        lines,
        x_range,
        [y for _, y in every],
        [(tick, f"{tick:g}") for tick in nice_ticks(*x_range)],
    )


def _size_chart(
    comparison: Comparison, known: list[str], methods: list[str], sizes: list[int]
) -> dict:
    """Quality over the number of labels on a logarithmic scale, with intervals."""
    every = known_numbers(comparison.runs)
    lines, ends = [], []
    width = math.log(sizes[-1]) - math.log(sizes[0])
    for place, case in enumerate(methods):
        aside = (
            0.012 * width * (place - (len(methods) - 1) / 2)
        )  # or intervals of equal size would hide each other
        points, whiskers = [], []
        for n in sizes:
            runs = every[(every["case"] == case) & (every["n_train"] == n)]
            found = interval(runs[comparison.metric].astype(float))
            if found.n:
                points.append((math.log(n) + aside, found.mean))
            if found.n > 1:
                whiskers.append((math.log(n) + aside, found.low, found.high))
        lines.append(
            {"case": case, **style(case, known), "points": points, "thin": [], "whiskers": whiskers}
        )
        ends += [y for _, y in points] + [y for _, low, high in whiskers for y in (low, high)]
    if not ends:
        lines, ends = [], [0.0, 1.0]
    values = every[comparison.metric].astype(float).dropna()
    if values.between(0, 1).all():
        ends = [min(1.0, max(0.0, y)) for y in ends]
    margin = 0.08 * width
    x_range = (math.log(sizes[0]) - margin, math.log(sizes[-1]) + margin)
    return _placed(
        f"{metric_name(comparison)} by number of labels",
        "labelled examples",
        lines,
        x_range,
        ends,
        [(math.log(n), str(int(n))) for n in sizes],
    )


def _placed(
    title: str, x_name: str, lines: list[dict], x_range, values: list[float], x_ticks
) -> dict:
    """The same with places from 0 (left, bottom) to 1, to four digits."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    y_range = (low - 0.05 * spread, high + 0.05 * spread)

    def at(point):
        return [_place(point[0], *x_range), *[_place(y, *y_range) for y in point[1:]]]

    for line in lines:
        line["points"] = [at(point) for point in line["points"]]
        line["thin"] = [[at(point) for point in points] for points in line["thin"]]
        line["whiskers"] = [at(point) for point in line.get("whiskers", [])]
    return {
        "title": title,
        "x_name": x_name,
        "lines": lines,
        "x": [[_place(tick, *x_range), name] for tick, name in x_ticks],
        "y": [[_place(tick, *y_range), f"{tick:g}"] for tick in nice_ticks(*y_range, 5)],
    }


def _place(value: float, low: float, high: float) -> float:
    return round(min(1.0, max(0.0, (value - low) / (high - low or 1))), 4)


def _with_interval(found, digits: int) -> str:
    if found.n == 0:
        return "–"
    half = "" if found.n == 1 else f" ± {number(found.high - found.mean, digits)}"
    return f"{number(found.mean, digits)}{half}"
