"""What a comparison of fine-tuned models shows, in plain sentences, with warnings where it shows
less than it seems."""

import math

from moe_lib.tuning.comparison.results import Comparison, Interval, interval
from moe_lib.views.kit.finite import LOST
from moe_lib.views.kit.wording import apart, count

NAMES = {
    "accuracy": "test accuracy",
    "loss": "test loss",
    "f1": "test F1",
    "macro_f1": "test macro-F1",
    "exact_match": "test exact match",
}


def metric_name(comparison: Comparison) -> str:
    """ "test accuracy" and the like: what the column of quality holds."""
    metric = comparison.about["metric"]
    return NAMES.get(metric, f"test {metric.replace('_', ' ')}")


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign; "–" where there is none."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def whole_number(value: float) -> str:
    """1234.0 -> "1,234"; "–" where there is none."""
    return "–" if math.isnan(value) else f"{value:,.0f}"


def interval_text(found: Interval, digits: int = 3) -> str:
    """ "0.77 to 0.85", or why there is none."""
    if found.n == 0:
        return "–"
    return (
        f"{number(found.low, digits)} to {number(found.high, digits)}"
        if found.n > 1
        else "one seed"
    )


def interval_of(comparison: Comparison, case: str, column: str) -> Interval:
    """Mean and interval of a column over the runs of a case; empty where the column is missing."""
    rows = comparison.runs[comparison.runs["case"] == case]
    return interval([] if column not in rows else rows[column].astype(float))


def comparator_words(task: str, shown: Comparison) -> tuple[str, list[str]]:
    """A comparison of one number of labels -> (what it shows, warnings)."""
    cases = list(dict.fromkeys(shown.runs["case"])) if len(shown.runs) else []
    if not cases:
        return f"{apart(task)}: no run of the chosen methods with this number of labels.", []
    sign = 1 if shown.about.get("higher_is_better", True) else -1
    quality = {case: interval_of(shown, case, shown.metric) for case in cases}
    name = metric_name(shown)
    lost = _lost_warnings(shown, cases, quality, name)
    known = [case for case in cases if quality[case].n]
    if not known:
        return f"{apart(task)}: {name} is {LOST} in every run.", lost
    best = max(known, key=lambda case: sign * quality[case].mean)
    parts = [
        f"{apart(task)}, {int(shown.runs['n_train'].iloc[0])} labelled examples: "
        f"{count(len(cases), 'method')}, "
        f"{name} ({'higher' if sign > 0 else 'lower'} is better), means over seeds with 95 % "
        "intervals.",
        f"Best on average: {apart(best)}, {number(quality[best].mean)} "
        f"({interval_text(quality[best])}).",
    ]
    distinct, close = _against_best(shown, known, best)
    if distinct:
        parts.append(f"Told apart from it, seed by seed: {'; '.join(distinct)}.")
    parts += _side_words(shown, cases)
    return " ".join(parts), [
        *lost,
        *_seed_warnings(shown, cases),
        *_overlap_warnings(best, quality, close),
    ]


def _against_best(
    shown: Comparison, cases: list[str], best: str
) -> tuple[list[str], dict[str, str]]:
    """Others whose paired difference to the best leaves out 0, in words; and those where it does
    not."""
    distinct, close = [], {}
    for case in cases:
        if case == best:
            continue
        try:
            found = shown.paired(case, best)
        except ValueError:
            found = None
        if found is None or found.n == 0:
            close[case] = f"{apart(case)} (no seed in common)"
            continue
        sign = "+" if found.mean > 0 else ""
        words = f"{apart(case)} {sign}{number(found.mean)} ({interval_text(found)})"
        if found.n > 1 and (found.low > 0 or found.high < 0):
            distinct.append(words)
        else:
            close[case] = words
    return distinct, close


def _overlap_warnings(best: str, quality: dict[str, Interval], close: dict[str, str]) -> list[str]:
    found = []
    several = {
        case: words for case, words in close.items() if quality[case].n > 1 and quality[best].n > 1
    }
    if several:
        found.append(
            f"These runs do not show that {apart(best)} is better than {_listed(list(several))}: "
            "the interval of the "
            f"difference, seed by seed, holds 0. {'; '.join(several.values())}."
        )
    overlapping = [
        case
        for case, one in quality.items()
        if case != best
        and case not in close
        and one.n > 1
        and one.low <= quality[best].high
        and one.high >= quality[best].low
    ]
    if overlapping:
        found.append(
            f"The interval of {_listed(overlapping)} overlaps that of {apart(best)}. "
            "Only the comparison seed by seed tells them apart."
        )
    return found


def _lost_warnings(
    shown: Comparison, cases: list[str], quality: dict[str, Interval], name: str
) -> list[str]:
    """Says which runs have no quality to show."""
    found = []
    for case in cases:
        runs = int((shown.runs["case"] == case).sum())
        if quality[case].n < runs:
            found.append(
                f"{apart(case)}: {name} is {LOST} in {runs - quality[case].n} of "
                f"{count(runs, 'run')}; these are left out."
            )
    return found


def _seed_warnings(shown: Comparison, cases: list[str]) -> list[str]:
    seeds = {case: int((shown.runs["case"] == case).sum()) for case in cases}
    single = [case for case, n in seeds.items() if n == 1]
    found = []
    if single:
        found.append(
            f"{_listed(single)}: one seed only, so no interval. A difference may be the luck "
            "of that seed."
        )
    several = sorted({n for n in seeds.values() if n > 1})
    if len(several) > 1:
        found.append(
            f"The methods have different numbers of seeds ({', '.join(map(str, several))})."
        )
    return found


def _side_words(shown: Comparison, cases: list[str]) -> list[str]:
    """Parameters, forgetting and gap: who has the most and the least."""
    parts = []
    for column, low, high, form in (
        ("trainable", "Fewest parameters trained", "most", lambda value: f"{value:,.0f}"),
        ("forgetting", "Forgets least", "most", lambda value: f"{number(value, 2)} nats per token"),
        ("gap", "Smallest gap from train to test", "largest", lambda value: number(value, 2)),
    ):
        means = {case: interval_of(shown, case, column).mean for case in cases}
        means = {case: value for case, value in means.items() if not math.isnan(value)}
        if not means:
            continue
        least, most = min(means, key=means.get), max(means, key=means.get)
        words = f"{low}: {apart(least)} ({form(means[least])})"
        parts.append(
            words
            + (
                f"; {high}: {apart(most)} ({form(means[most])})."
                if means[most] > means[least]
                else "."
            )
        )
    return parts


def _listed(names: list[str]) -> str:
    names = [apart(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def source_words(about: dict) -> str:
    """Where stored runs come from."""
    parts = [
        about.get("command"),
        about.get("date") and f"on {about['date']}",
        about.get("torch") and f"torch {about['torch']}",
    ]
    return ", ".join(str(part) for part in parts if part)
