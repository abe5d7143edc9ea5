"""The values in a file of a comparison: of the right kind, within their ranges, each run once."""

import math
from pathlib import Path

import pandas as pd

from moe_lib.errors import is_whole, shown

RUN = ("case", "n_train", "seed")  # what names a run
# Column -> smallest value; whole numbers and other numbers. A gap (None) is left where a run has
# none.
WHOLE = {"n_train": 1, "seed": 0, "steps": 1, "best_step": 1, "trainable": 0, "step": 0}
AT_LEAST_0 = ("seconds", "cpu_seconds", "memory_mb", "activations_mb", "cuda_peak_mb")
SHARES = ("accuracy", "routing_change")  # of 0 to 1, also with train_, test_, validation_ before


def check_values(path: Path, runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    """ValueError naming the file, the table, the row and the column of the first value that no
    comparison writes."""
    for table, frame in (("runs", runs), ("curves", curves)):
        for column in frame.columns:
            for number, value in enumerate(frame[column].tolist(), start=1):
                wants = _wants(column, value)
                if wants:
                    where = f'{path}: "{table}", row {number}, {column}'
                    raise ValueError(f"{where}: got {shown(value)}; wants {wants}")
    names = [name for name in RUN if name in runs.columns]
    known = set(map(tuple, runs[names].values.tolist()))
    if len(known) < len(runs):
        number = 1 + list(runs.duplicated(names)).index(True)
        raise ValueError(f'{path}: "runs", row {number}: its case, n_train and seed stand twice')
    if len(curves):
        missing = [name for name in RUN if name not in curves.columns]
        if missing:
            raise ValueError(f'{path}: "curves_columns" has no {missing[0]!r}')
        for number, run in enumerate(map(tuple, curves[names].values.tolist()), start=1):
            if run not in known:
                raise ValueError(
                    f'{path}: "curves", row {number}: of a run that is not there, {run}'
                )


def _wants(column: str, value: object) -> str:
    """What the column wants instead of this value; "" where it is right."""
    if column in ("case", "method"):
        fits = isinstance(value, str) and value.strip() != ""
        return "" if fits else "a name"
    gap = value is None or (isinstance(value, float) and math.isnan(value))
    if gap and column not in RUN:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if column in WHOLE:
        least = WHOLE[column]
        whole = number and (is_whole(value) or (column not in RUN and float(value).is_integer()))
        return "" if whole and value >= least else f"a whole number of at least {least}"
    if not number:
        return "a number"
    if column in AT_LEAST_0 and value < 0:
        return "a number of at least 0"
    share = column.split("_", 1)[-1] in SHARES or column in SHARES
    return "a share, 0 to 1" if share and not 0 <= value <= 1 else ""
