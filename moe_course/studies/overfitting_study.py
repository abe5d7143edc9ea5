"""Which remedy helps against overfitting, and what small changes do to an MoE? Support intents,
three seeds.

    python -m moe_course.studies.overfitting_study       writes data/studies/overfitting.json (45
                                                         minutes of one core)

Base: mini-v2, everything is trained, 16 rows a step. Texts are cut to 32 tokens. Parts of the
study:

    factorial  four remedies, on or off, in 8 of the 16 combinations (2^(4-1), label smoothing on
               where an odd number of the other three is): the effect of a remedy is not mixed up
               with a pair of others, but pairs are mixed up with pairs. 100, 300 and all labels
    singles    one remedy at a time, 300 labels
    averages   three heads that differ in the order of their texts: alone, as ensemble, as soup
    limits     300 labels, out_of_scope left out: attacks, calibration, abstaining, unknown texts;
               plain and FGM
    self       self-training from 300 labels and 500 texts without
    active     100 labels, then 100 more of 700 texts, twice: the least certain, or any
    round trip texts through the course's translation model and back

A study that is broken off goes on where it was when the command is given again. A finished run is
taken from before only if its settings, data and base weights are the same. How steps and strengths
were chosen: overfitting_cases.
"""

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from moe_course.studies.overfitting_cases import (
    BASE,
    BATCH,
    DESIGN,
    DROPOUT,
    EPSILON,
    LEARNING_RATE,
    MAX_LENGTH,
    POOL,
    REMEDIES,
    SEEDS,
    STEPS,
    TRANSLATOR,
    fresh_head,
    intent_task,
    intents,
    market_news,
    name_of,
    remedy_case,
    single_cases,
)
from moe_course.studies.overfitting_parts import (
    ACTIVE,
    RADII,
    SHOWN,
    SURE,
    active_learning,
    averages,
    limits,
    self_training,
    translation,
)
from moe_course.studies.running import (
    STUDIES,
    about,
    kept_run,
    parser_of,
    require_shape,
    rounded,
    runs_folder,
    study_page,
)
from moe_lib.console import run_command, whole
from moe_lib.devices import device
from moe_lib.errors import require
from moe_lib.files import write_json
from moe_lib.training import load_checkpoint
from moe_lib.tuning.comparison.cases import Case
from moe_lib.tuning.comparison.compare import compare
from moe_lib.tuning.comparison.results import json_ready
from moe_lib.tuning.saving import fingerprint
from moe_lib.validation import Choice, Count, Finite, Natural, Seed, checked

__all__ = [
    "DROPOUT",
    "EPSILON",
    "LEARNING_RATE",
    "RADII",
    "REMEDIES",
    "STEPS",
    "effects",
    "fresh_head",
    "intents",
    "main",
    "market_news",
    "name_of",
    "remedy_case",
    "run_part",
]

STUDY = STUDIES / "overfitting.json"
COMPARED = ("factorial 100", "factorial 300", "factorial all", "singles")
OTHERS = {
    "averages": averages,
    "limits": limits,
    "self": self_training,
    "active": active_learning,
    "round trip": translation,
}
PARTS = (*COMPARED, *OTHERS)


@checked
def cases_of(part: Choice(*COMPARED), steps: Count | None = None) -> list[Case]:
    """The cases of one of COMPARED. The same case in two parts is one run."""
    if part == "singles":
        return single_cases(steps)
    size = part.removeprefix("factorial ")
    return [remedy_case(on, None if size == "all" else int(size), steps) for on in DESIGN]


@checked
def run_part(
    part: Choice(*PARTS),
    steps: Count | None = None,
    seeds: Sequence[Seed] = SEEDS,
    scratch: Path | None = None,
) -> list[dict]:
    """The rows of one of the PARTS. `steps` instead of the study's own, to try it out."""
    require(len(seeds) > 0, "seeds", seeds, "at least one")
    if part in COMPARED:
        return _compared(part, steps, seeds, scratch)
    rows = []
    for seed in seeds:
        path = None if scratch is None else scratch / f"{part.replace(' ', '_')}_seed{seed}.json"
        key = settings_key(part, seed, steps or STEPS[100 if part == "active" else 300])
        rows += kept_run(path, key, partial(_timed, part, seed, key["steps"]))
    return rows


def _timed(part: str, seed: int, steps: int) -> list[dict]:
    """The rows of one of OTHERS; the first says how long it took."""
    started = time.process_time()
    rows = json_ready(OTHERS[part](seed, steps))
    rows[0]["cpu_seconds"] = round(time.process_time() - started, 1)
    return rows


def settings_key(part: str, seed: int, steps: int) -> dict:
    """All that a run of one of OTHERS depends on, but the code: another key, another run."""
    base = TRANSLATOR if part == "round trip" else BASE
    return {
        "part": part,
        "seed": seed,
        "steps": steps,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "max_length": MAX_LENGTH,
        "pool": POOL,
        "epsilon": EPSILON,
        "radii": list(RADII),
        "sure": SURE,
        "active": ACTIVE,
        "shown": SHOWN,
        "base": base,
        "base_weights": _weights(base),
        "data": _digest(part == "limits"),
    }


@cache
def _weights(base: str) -> str:
    return fingerprint(load_checkpoint(base)[0])


@cache
def _digest(known_only: bool) -> str:
    parts = [*intents(known_only).values(), *([market_news()] if known_only else [])]
    return hashlib.sha256(json.dumps([part.rows for part in parts]).encode()).hexdigest()[:16]


def _compared(
    part: str, steps: int | None, seeds: Sequence[int], scratch: Path | None
) -> list[dict]:
    found = compare(
        cases_of(part, steps), intent_task(), seeds=seeds, scratch=scratch, device=device()
    )
    kept = [
        "case",
        "n_train",
        "seed",
        "steps",
        "best_step",
        "trainable",
        "cpu_seconds",
        "train_accuracy",
        "train_loss",
        "test_accuracy",
        "test_loss",
        "gap",
    ]
    keys = ["case", "n_train", "seed"]
    rows = found.runs[kept].merge(_late_violation(found.curves), on=keys, validate="one_to_one")
    return json_ready(rows.to_dict("records"))


def _late_violation(curves: pd.DataFrame) -> pd.DataFrame:
    """max_violation of the worst layer, mean over the second half of the steps: how unevenly the
    experts are used."""
    keys = ["case", "n_train", "seed"]
    late = curves[curves["step"] > curves.groupby(keys)["step"].transform("max") / 2]
    return late.groupby(keys, as_index=False)["max_violation"].mean()


@checked
def effects(rows: Sequence[Mapping], metric: str = "test_accuracy") -> dict[str, list[float]]:
    """The effect of each remedy, a number per seed: mean of the 4 runs with it minus mean of the 4
    without."""
    for number, row in enumerate(rows):
        require_shape(f"rows[{number}]", row, {"seed": Natural, "case": str, metric: Finite})
    found = {}
    for remedy in REMEDIES:
        found[remedy] = []
        for seed in sorted({row["seed"] for row in rows}):
            sides = {True: [], False: []}
            for row in rows:
                if row["seed"] == seed:
                    sides[remedy in row["case"].split(" + ")].append(row[metric])
            wants = "4 runs with and 4 without it, per seed"
            counts = [len(side) for side in sides.values()]
            require(
                counts == [4, 4],
                "rows",
                f"{counts[0]} with {remedy} and {counts[1]} without",
                wants,
            )
            found[remedy].append(float(np.mean(sides[True]) - np.mean(sides[False])))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("overfitting_study", __doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="only these, without writing"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=whole(0), default=SEEDS, help="only these, without writing"
    )
    parser.add_argument("--out", type=study_page, default=STUDY)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parts = {}
    for part in chosen.parts:
        parts[part] = run_part(part, seeds=chosen.seeds, scratch=runs_folder("overfitting_study"))
        print(part, "done", flush=True)
    if set(chosen.parts) == set(PARTS) and set(chosen.seeds) == set(SEEDS):
        runs = {
            (row.get("case", part), row.get("n_train"), row["seed"]): row["cpu_seconds"]
            for part, rows in parts.items()
            for row in rows
            if "cpu_seconds" in row
        }
        facts = about(
            "overfitting_study",
            steps={str(n or "all"): steps for n, steps in STEPS.items()},
            learning_rate=LEARNING_RATE,
            epsilon=EPSILON,
            cpu_seconds=round(sum(runs.values())),
        )
        write_json(chosen.out, rounded({"about": facts, **parts}))


if __name__ == "__main__":
    sys.exit(run_command(main))
