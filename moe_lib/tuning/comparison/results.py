"""What a comparison of fine-tuned models found: tidy frames, intervals over seeds, and a JSON
file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from moe_lib.errors import require
from moe_lib.files import read_json, write_atomically
from moe_lib.intervals import Interval, interval
from moe_lib.text_files import check_text, path_of
from moe_lib.tuning.comparison.stored_values import check_values
from moe_lib.validation import Count, Name, PathLike, Positive, checked

KIND = "moe_lib comparison"
POINTS = 40


@checked
@dataclass(frozen=True)
class Comparison:
    """What `compare` returns.

    runs    a row per case, n_train and seed:
              case, method, n_train (labelled examples), seed, steps, best_step
              seconds, cpu_seconds      of finetune, measuring the validation set included
              trainable                 parameters that were trained, the head's among them
              memory_mb                 weights, gradients, AdamW's moments and what one batch keeps
                                        for its backward pass (activations_mb), counted from the
                                        tensors; on CUDA also cuda_peak_mb
              train_…, test_…           what the task measures, and the loss; train_ on as many rows
                                        as the test has
              gap                       of the task's metric: positive where the rows trained on
                                        come out better
              forgetting, forgetting_…  loss on the pretraining domains after minus before, in nats
                                        per token
              routing_change            share of (token, expert) choices that are gone; NaN for
                                        dense models
    curves  a row per step: case, n_train, seed, step, loss, validation_loss …
    about   task, metric, cases and their settings, versions, date
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    about: dict

    @property
    def metric(self) -> str:
        """The column of `runs` that matters: test_ and the task's metric."""
        return f"test_{self.about['metric']}"

    @checked
    def summary(
        self, metrics: Sequence[Name] | Name | None = None, *, confidence: Positive = 0.95
    ) -> pd.DataFrame:
        """A row per case and n_train: seeds, and for each metric its mean, and _low and _high of
        the interval.

        metrics  columns of `runs`; by default all that are numbers. Raises ValueError for one that
                 is not there.
        """
        numbers = [
            name for name in self.runs.columns if name not in ("case", "method", "n_train", "seed")
        ]
        metrics = (
            numbers if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
        )
        unknown = [name for name in metrics if name not in numbers]
        require(not unknown, "metrics", unknown, f"some of {', '.join(numbers)}")
        rows = []
        for (case, n_train), part in self.runs.groupby(["case", "n_train"], sort=False):
            row = {"case": case, "n_train": n_train, "seeds": len(part)}
            for name in metrics:
                found = interval(part[name].astype(float), confidence)
                row |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append(row)
        return pd.DataFrame(rows)

    @checked
    def paired(
        self,
        a: Name,
        b: Name,
        metric: Name | None = None,
        *,
        n_train: Count | None = None,
        confidence: Positive = 0.95,
    ) -> Interval:
        """a − b of a metric (the task's, by default), seed by seed: mean and interval of the
        differences.

        Runs of one seed share labels and order, so what these do to both falls out: narrower than
        two intervals side by side. n_train is needed where cases have several. Raises ValueError
        for a case that is not there.
        """
        metric = metric or self.metric
        require(
            metric in self.runs.columns, "metric", metric, f"one of {', '.join(self.runs.columns)}"
        )
        first, second = (
            self._by_seed(argument, name, metric, n_train)
            for argument, name in (("a", a), ("b", b))
        )
        shared = [seed for seed in first.index if seed in second.index]
        require(len(shared) > 0, "a, b", f"{a!r}, {b!r}", "cases with a seed in common")
        return interval([first[seed] - second[seed] for seed in shared], confidence)

    def _by_seed(self, argument: str, case: str, metric: str, n_train: int | None) -> pd.Series:
        rows = self.runs[self.runs["case"] == case]
        require(
            len(rows) > 0, argument, case, f"one of {', '.join(dict.fromkeys(self.runs['case']))}"
        )
        sizes = sorted(set(rows["n_train"]))
        require(
            n_train is not None or len(sizes) == 1,
            "n_train",
            n_train,
            f"one of {sizes} for {case!r}",
        )
        if n_train is not None:
            require(n_train in sizes, "n_train", n_train, f"one of {sizes} for {case!r}")
            rows = rows[rows["n_train"] == n_train]
        return rows.set_index("seed")[metric]

    @checked
    def save(self, path: PathLike, points: Count = POINTS, **about) -> Path:
        """Write a JSON file; `about` adds to what is known of it (command="python -m …"). Returns
        the path.

        A curve is thinned to at most `points` points, each the mean loss of the steps since the
        last one; numbers keep six digits.
        """
        curves = self.curves
        if not curves.empty:
            runs = curves.groupby(["case", "n_train", "seed"], sort=False)
            curves = pd.concat([thinned(curve, points) for _, curve in runs], ignore_index=True)
        tables = {"runs": self.runs, "curves": curves}
        lines = [
            f'"kind": {json.dumps(KIND)}',
            f'"about": {_json(json_ready({**self.about, **about}))}',
        ]
        for name, frame in tables.items():
            rows = ",\n".join(_json(row) for row in json_ready(frame.values.tolist()))
            lines += [f'"{name}_columns": {_json(list(frame.columns))}', f'"{name}": [\n{rows}\n]']
        path = Path(path)
        write_atomically(
            path,
            lambda file: file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8"),
        )
        return path

    def __add__(self, other: "Comparison") -> "Comparison":
        """Runs of two comparisons of one task together: more cases, or more seeds."""
        require(
            isinstance(other, Comparison), "other", type(other).__name__, "a Comparison", TypeError
        )
        for name in ("task", "metric"):
            require(
                self.about[name] == other.about[name],
                "other",
                other.about[name],
                f"{name} {self.about[name]!r}",
            )
        runs = pd.concat([self.runs, other.runs], ignore_index=True)
        twice = runs.duplicated(["case", "n_train", "seed"])
        require(not twice.any(), "other", list(runs[twice]["case"]), "other cases or other seeds")
        about = {
            **self.about,
            "cases": {**self.about["cases"], **other.about["cases"]},
            "seeds": list(dict.fromkeys([*self.about["seeds"], *other.about["seeds"]])),
        }
        return Comparison(runs, pd.concat([self.curves, other.curves], ignore_index=True), about)


def load_comparison(path: str | Path) -> Comparison:
    """Read what `Comparison.save` wrote. FileNotFoundError; ValueError naming the file if it is
    something else."""
    path = path_of("path", path)
    content = read_json(path)
    parts = {"about": dict, "runs": list, "curves": list}
    parts |= {"runs_columns": list, "curves_columns": list}
    if content.get("kind") != KIND or not set(parts) <= set(content):
        raise ValueError(f"{path}: not a {KIND}; wants a file that Comparison.save wrote")
    for name, kind in parts.items():
        if not isinstance(content[name], kind):
            got = type(content[name]).__name__
            raise ValueError(f'{path}: "{name}" is {got}; wants a {kind.__name__}')
    for name in ("task", "metric"):
        check_text(content["about"].get(name), f'{path}: "about", {name}')
    frames = [_frame(content, name, path) for name in ("runs", "curves")]
    needs = {"case", "n_train", "seed", f"test_{content['about']['metric']}"}
    missing = sorted(needs - set(frames[0].columns)) if len(frames[0]) else []
    if missing:
        raise ValueError(f'{path}: "runs_columns" has no {missing[0]!r}')
    check_values(path, *frames)
    return Comparison(*frames, content["about"])


def _frame(content: dict, name: str, path: Path) -> pd.DataFrame:
    """One table of a file, each row as long as its columns are many."""
    columns = content[f"{name}_columns"]
    for number, column in enumerate(columns, start=1):
        check_text(column, f'{path}: "{name}_columns" number {number}')
    if len(set(columns)) < len(columns):
        raise ValueError(f'{path}: "{name}_columns" names a column twice')
    for number, row in enumerate(content[name], start=1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise ValueError(f'{path}: "{name}", row {number}: wants a list of {len(columns)}')
        if any(isinstance(value, list | dict) for value in row):
            raise ValueError(f'{path}: "{name}", row {number}: wants numbers and texts only')
    try:
        return _numbers(pd.DataFrame(content[name], columns=columns))
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: "{name}": {error}') from error


def thinned(curve: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """At most `points` rows of the curve of one run: blocks of steps, the mean of each column in a
    block; of step and of what is measured now and then (validation_…), the last."""
    block = -(-len(curve) // points)
    groups = curve.assign(_block=[index // block for index in range(len(curve))]).groupby(
        "_block", sort=False
    )
    means = {"loss", "balance_loss", "gradient_norm", "max_violation"}
    return groups.agg(
        {name: "mean" if name in means else "last" for name in curve.columns}
    ).reset_index(drop=True)


def json_ready(content):
    """What JSON can hold: numpy's numbers as Python's, six digits, None for NaN and the
    infinite."""
    if isinstance(content, Mapping):
        return {str(name): json_ready(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_ready(value) for value in content]
    if hasattr(content, "item"):
        content = content.item()
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    return content


def _json(content) -> str:
    return json.dumps(content, ensure_ascii=False)


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers with gaps come out of JSON as objects; a column of None only is one of
    NaN."""
    for name in frame.columns:
        if (
            frame[name].dtype == object
            and not frame[name].map(lambda value: isinstance(value, str)).any()
        ):
            frame[name] = pd.to_numeric(frame[name])
    return frame
