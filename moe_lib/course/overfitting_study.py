"""Which remedy helps against overfitting, and what small changes do to an MoE? Support intents, three seeds.

    python -m moe_lib.course.overfitting_study       writes data/studies/overfitting.json (about a quarter of an hour)

Base: mini-v2, everything is trained, 16 rows a step. Texts are cut to 32 tokens. Parts of the study:

    factorial  four remedies, on or off, in 8 of the 16 combinations (2^(4-1), label smoothing on where an odd number
               of the other three is): the effect of a remedy is not mixed up with a pair of others, but pairs are
               mixed up with pairs. 100 and 300 labels; with all labels only "none" and "all four"
    twins      mini-v2 and its dense twin, with and without dropout, 300 labels
    limits     300 labels, out_of_scope left out: attacks, calibration, abstaining, unknown texts; plain and FGM
    self       self-training from 100 labels and 500 texts without
    active     60 labels, then 60 more of 500 texts, twice: the least certain, or any

A study that is broken off goes on where it was when the command is given again.
"""

import argparse
import platform
import warnings
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import torch

from moe_lib.course.expert_designs import rounded
from moe_lib.errors import require
from moe_lib.files import read_json, write_json
from moe_lib.paths import DATA, REPOSITORY
from moe_lib.text import load_task, load_tokenizer
from moe_lib.training import load_checkpoint
from moe_lib.tuning import Encoded, Examples, SequenceClassifier, encode_texts, finetune, measure, predict
from moe_lib.tuning.cases import Case, TuningTask
from moe_lib.tuning.comparing import compare
from moe_lib.tuning.comparison import plain
from moe_lib.tuning.drawing import draw_examples
from moe_lib.tuning.metrics import expected_calibration_error
from moe_lib.tuning.robust import (
    FGM,
    Augment,
    ExpertDropout,
    attack_curve,
    auroc,
    class_logits,
    coverage_curve,
    energy_score,
    fit_temperature,
    learn_actively,
    max_probability,
    self_train,
)

STUDY = DATA / "studies" / "overfitting.json"
BASE, TWIN, SEEDS, LEARNING_RATE, MAX_LENGTH = "mini-v2", "mini-v2-dense", (0, 1, 2), 2e-3, 32
STEPS = {100: 24, 300: 36, None: 96}  # by the number of labels
EPSILON, DROPOUT, SMOOTHING = 0.5, ExpertDropout(0.4, 0.1), 0.1
POOL = 500
RADII = (0.0, 0.25, 0.5, 1.0, 2.0)
REMEDIES = ("augmentation", "FGM", "dropout", "smoothing")
DESIGN = [(a, f, d, (a + f + d) % 2) for a in (0, 1) for f in (0, 1) for d in (0, 1)]  # column 4 = sum of the others
PARTS = ("factorial 100", "factorial 300", "factorial all", "twins", "limits", "self", "active")


@cache
def tokenizer():
    return load_tokenizer("mixture")


@cache
def intents(known_only: bool = False) -> dict[str, Encoded]:
    """The parts of support_intent; known_only leaves out the class out_of_scope, and gives its rows as "unknown"."""
    task = load_task("support_intent")
    names = task["train"].features["intent"].names
    known = [name for name in names if name != "out_of_scope"] if known_only else names
    parts, unknown = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts over MAX_LENGTH are cut, on purpose
        for split, rows in task.items():
            labels = [names[number] for number in rows["intent"]]
            inside = [index for index, label in enumerate(labels) if label in known]
            parts[split] = encode_texts([rows["text"][i] for i in inside], [labels[i] for i in inside], tokenizer(),
                                        label_names=known, max_length=MAX_LENGTH)  # fmt: skip
            if known_only and split == "test":
                unknown = [text for text, label in zip(rows["text"], labels, strict=True) if label not in known]
                parts["unknown"] = encode_texts(unknown, None, tokenizer(), max_length=MAX_LENGTH)
    return parts


@cache
def market_news() -> Encoded:
    """Texts of another domain: the test part of market_sentiment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encode_texts(list(load_task("market_sentiment", "test")["text"]), None, tokenizer(),
                            max_length=MAX_LENGTH)  # fmt: skip


def name_of(on: tuple[int, ...]) -> str:
    """ "none", or the remedies that are on, joined by " + "."""
    return " + ".join(name for name, there in zip(REMEDIES, on, strict=True) if there) or "none"


def remedy_case(on: tuple[int, ...], n_train: int | None, steps: int | None = None) -> Case:
    """The run with these remedies on: augmentation, FGM, dropout, smoothing."""
    augmentation, fgm, dropout, smoothing = on
    settings = {"steps": steps or STEPS[n_train], "learning_rate": LEARNING_RATE}
    settings |= {"objective": FGM(EPSILON)} if fgm else {}
    settings |= {"label_smoothing": SMOOTHING} if smoothing else {}
    return Case(name_of(on), BASE, method=DROPOUT if dropout else None, n_train=n_train, settings=settings,
                prepare=Augment(tokenizer()) if augmentation else None)  # fmt: skip


def twin_cases(steps: int | None = None) -> list[Case]:
    settings = {"steps": steps or STEPS[300], "learning_rate": LEARNING_RATE}
    return [Case(f"{kind}{', dropout' if method else ''}", base, method=method, n_train=300, settings=settings)
            for kind, base in (("MoE", BASE), ("dense", TWIN)) for method in (None, DROPOUT)]  # fmt: skip


def intent_task() -> TuningTask:
    parts = intents()
    n_labels = len(parts["train"].label_names)
    return TuningTask("support_intent", parts["train"], parts["test"], lambda base: SequenceClassifier(base, n_labels))


def cases_of(part: str, steps: int | None = None) -> list[Case]:
    if part == "twins":
        return twin_cases(steps)
    size = part.removeprefix("factorial ")
    design = DESIGN if size != "all" else [(0, 0, 0, 0), (1, 1, 1, 1)]
    return [remedy_case(on, None if size == "all" else int(size), steps) for on in design]


def compared(part: str, steps: int | None, seeds, scratch: Path | None) -> list[dict]:
    found = compare(cases_of(part, steps), intent_task(), seeds=seeds, scratch=scratch)
    kept = ["case", "n_train", "seed", "steps", "trainable", "cpu_seconds", "train_accuracy", "train_loss",
            "test_accuracy", "test_loss", "gap"]  # fmt: skip
    return plain(found.runs[kept].to_dict("records"))


def fresh_head(rows: Encoded, seed: int, steps: int, **settings) -> SequenceClassifier:
    """A new head on the base, trained on these rows."""
    torch.manual_seed(seed)
    head = SequenceClassifier(load_checkpoint(BASE)[0], len(rows.label_names))
    return finetune(head, Examples(rows, 16, seed=seed), steps=steps, learning_rate=LEARNING_RATE, seed=seed,
                    **settings).model  # fmt: skip


def limits(seed: int, steps: int, attacked: int = 64) -> list[dict]:
    """A plain head and one trained with FGM, which know 12 intents: what each does with what is not as it should be."""
    parts, rows = intents(True), []
    drawn = draw_examples(parts["train"], 300, seed=seed)
    some = draw_examples(parts["test"], attacked, seed=seed)
    for name, settings in (("plain", {}), ("FGM", {"objective": FGM(EPSILON)})):
        head = fresh_head(drawn, seed, steps, **settings)
        validation, test = (predict(head, Examples(parts[split], 64)) for split in ("validation", "test"))
        temperature = fit_temperature(validation.probabilities, validation.targets)
        cooled = temperature(test.probabilities)
        curve = coverage_curve(cooled, test.targets)
        logits = {key: class_logits(head, Examples(part, 64)) for key, part in
                  (("known", parts["test"]), ("unknown", parts["unknown"]), ("news", market_news()))}  # fmt: skip
        scores = {f"auroc_{how}_{key}": auroc(score(logits["known"]), score(logits[key]))
                  for how, score in (("max", max_probability), ("energy", energy_score))
                  for key in ("unknown", "news")}  # fmt: skip
        covered = {f"accuracy_at_{share}": float(np.interp(share / 100, curve["coverage"], curve["accuracy"]))
                   for share in (10, 25, 50, 75, 100)}  # fmt: skip
        rows.append({"head": name, "seed": seed, "temperature": temperature.value,
                     "calibration_error": expected_calibration_error(test.probabilities, test.targets),
                     "calibration_error_scaled": expected_calibration_error(cooled, test.targets), **scores, **covered,
                     "attacks": attack_curve(head, Examples(some, 64), RADII, 2, seed).to_dict("records")})  # fmt: skip
    return rows


def self_training(seed: int, steps: int, threshold: float = 0.25) -> list[dict]:
    """From 100 labels, two rounds with 500 other texts of the training part, whose labels only the log sees."""
    train, test, scores = intents()["train"], Examples(intents()["test"], 64), {}
    labelled = draw_examples(train, 100, seed=seed)
    known = {id(row) for row in labelled.rows}
    rest = train.select([index for index, row in enumerate(train.rows) if id(row) not in known][:POOL])
    run = self_train(lambda rows, round_: fresh_head(rows, seed, steps), labelled, rest, rounds=2, threshold=threshold,
                     after=lambda head, round_: scores.update({round_: measure(head, test)["accuracy"]}))  # fmt: skip
    return [{"seed": seed, **row, "test_accuracy": scores[row["round"]]} for row in run.log.to_dict("records")]


def active_learning(seed: int, steps: int) -> list[dict]:
    """60 labels, and twice 60 more out of 500 texts: the least certain by the margin, or any."""
    train, test, rows = intents()["train"], Examples(intents()["test"], 64), []
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    pool, first = train.select(order[:POOL]), range(60)
    for how in ("margin", "random"):
        scores = {}
        learn_actively(
            lambda part, round_: fresh_head(part, seed, steps),
            pool,
            first,
            batch=60,
            rounds=2,
            how=how,
            seed=seed,
            after=lambda head, r, scores=scores: scores.update({r: measure(head, test)["accuracy"]}),
        )
        rows += [{"how": how, "seed": seed, "labels": 60 + 60 * r, "test_accuracy": s} for r, s in scores.items()]
    return rows


def run_part(part: str, steps: int | None = None, seeds=SEEDS, scratch: Path | None = None) -> list[dict]:
    """The rows of one of the PARTS. `steps` instead of the study's own, to try it out."""
    require(part in PARTS, "part", part, f"one of {', '.join(PARTS)}")
    if part == "twins" or part.startswith("factorial"):
        return compared(part, steps, seeds, scratch)
    run, usual = {"limits": (limits, 300), "self": (self_training, 100), "active": (active_learning, 100)}[part]
    rows = []
    for seed in seeds:
        path = None if scratch is None else scratch / f"{part}_seed{seed}.json"
        if path is not None and path.is_file():
            rows += read_json(path)["rows"]
            continue
        found = rounded(plain(run(seed, steps or STEPS[usual])))
        if path is not None:
            write_json(path, {"rows": found})
        rows += found
    return rows


def effects(rows: list[dict], metric: str = "test_accuracy") -> dict[str, list[float]]:
    """The effect of each remedy, a number per seed: mean of the 4 runs with it minus mean of the 4 without."""
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
            require(counts == [4, 4], "rows", f"{counts[0]} with {remedy} and {counts[1]} without", wants)
            found[remedy].append(float(np.mean(sides[True]) - np.mean(sides[False])))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m moe_lib.course.overfitting_study",
                                     description=__doc__.split("\n")[0])  # fmt: skip
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these, without writing")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="only these, without writing")
    parser.add_argument("--out", type=Path, default=STUDY)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scratch = REPOSITORY / "runs" / "overfitting_study"
    parts = {}
    for part in chosen.parts:
        parts[part] = run_part(part, seeds=chosen.seeds, scratch=scratch / part.replace(" ", "_"))
        print(part, "done", flush=True)
    if set(chosen.parts) == set(PARTS) and set(chosen.seeds) == set(SEEDS):
        about = {"command": "python -m moe_lib.course.overfitting_study", "date": date.today().isoformat(),
                 "steps": {str(n or "all"): steps for n, steps in STEPS.items()}, "learning_rate": LEARNING_RATE,
                 "epsilon": EPSILON, "python": platform.python_version(),
                 "torch": torch.__version__.split("+")[0]}  # fmt: skip
        write_json(chosen.out, rounded({"about": about, **parts}))


if __name__ == "__main__":
    main()
