"""Runs made now, put beside the stored ones."""

import pandas as pd

from moe_lib.errors import require
from moe_lib.tuning.comparison.results import Comparison

_MARK = " (run now"


def stored_methods(methods: list[str]) -> list[str]:
    """Those that are not runs made now."""
    return [name for name in methods if _MARK not in name]


def with_runs(old: Comparison, new: Comparison) -> tuple[Comparison, set[str]]:
    """Both in one, the cases of `new` named "… (run now)" -> (Comparison, the new names).

    ValueError if they measured something else.
    """
    wants = "to return a Comparison, or None"
    require(isinstance(new, Comparison), "run", new, wants, TypeError)
    measured, stored = new.about["metric"], old.about["metric"]
    wants = f"runs that measure {stored}, as the stored runs"
    require(measured == stored, "run", f"runs that measured {measured}", wants)
    times = 1 + sum(_MARK in name for name in set(old.runs["case"]))
    mark = f"{_MARK})" if times == 1 else f"{_MARK} {times})"
    runs, curves = (frame.assign(case=frame["case"] + mark) for frame in (new.runs, new.curves))
    joined = (
        pd.concat(pair, ignore_index=True) for pair in ((old.runs, runs), (old.curves, curves))
    )
    return Comparison(*joined, old.about), set(runs["case"])
