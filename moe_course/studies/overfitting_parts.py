"""The parts of the study of chapter 15 that are no comparison of cases. Each takes (seed, steps),
and gives rows."""

import re

import numpy as np
import torch

from moe_course.studies.overfitting_cases import (
    EPSILON,
    fresh_head,
    intents,
    market_news,
    others,
    round_trip,
    tokenizer,
)
from moe_lib.tuning import Encoded, Examples, SequenceClassifier, accuracy, measure, predict
from moe_lib.tuning.metrics import expected_calibration_error
from moe_lib.tuning.robust import (
    FGM,
    attack_curve,
    auroc,
    average_weights,
    class_logits,
    coverage_curve,
    embedding_norms,
    energy_score,
    ensemble,
    fit_temperature,
    learn_actively,
    max_probability,
    self_train,
)
from moe_lib.tuning.stratified_draw import draw_examples

RADII = (0.0, 0.1, 0.2, 0.4, 0.8)
SURE = 0.75  # self-training: as sure as the surest quarter of the validation texts
ACTIVE = {"first": 100, "batch": 100, "rounds": 2, "pool": 700}
SHOWN = {"en": 40, "zh": 10}  # round trips that are stored


def limits(seed: int, steps: int, attacked: int = 64) -> list[dict]:
    """A plain head and one trained with FGM, which know 12 intents: what each does with what is not
    as it should be."""
    parts, rows = intents(True), []
    drawn = draw_examples(parts["train"], 300, seed=seed)
    batch = Examples(draw_examples(parts["test"], attacked, seed=seed), attacked).at(0)
    for name, settings in (("plain", {}), ("FGM", {"objective": FGM(EPSILON)})):
        head = fresh_head(drawn, seed, steps, **settings)
        validation, test = (
            predict(head, Examples(parts[split], 64)) for split in ("validation", "test")
        )
        temperature = fit_temperature(validation.probabilities, validation.targets)
        cooled = temperature(test.probabilities)
        curve = coverage_curve(cooled, test.targets)
        logits = {
            key: class_logits(head, Examples(part, 64))
            for key, part in (
                ("known", parts["test"]),
                ("unknown", parts["unknown"]),
                ("news", market_news()),
            )
        }
        scores = {
            f"auroc_{how}_{key}": auroc(score(logits["known"]), score(logits[key]))
            for how, score in (("max", max_probability), ("energy", energy_score))
            for key in ("unknown", "news")
        }
        covered = {
            f"accuracy_at_{share}": float(
                np.interp(share / 100, curve["coverage"], curve["accuracy"])
            )
            for share in (10, 25, 50, 75, 100)
        }
        rows.append(
            {
                "head": name,
                "seed": seed,
                "temperature": temperature.value,
                "norm": float(embedding_norms(head, batch).median()),
                "calibration_error": expected_calibration_error(test.probabilities, test.targets),
                "calibration_error_scaled": expected_calibration_error(cooled, test.targets),
                **scores,
                **covered,
                "attacks": attack_curve(head, [batch], RADII, 2, seed).to_dict("records"),
            }
        )
    return rows


def averages(seed: int, steps: int, n: int = 3) -> list[dict]:
    """Heads from one start, on the same 300 labels in another order each: alone, as an ensemble,
    and as a soup."""
    drawn, test = draw_examples(intents()["train"], 300, seed=seed), Examples(intents()["test"], 64)
    heads = [fresh_head(drawn, seed, steps, order=10 * seed + number) for number in range(n)]
    together = ensemble(heads, test)
    return [
        {
            "seed": seed,
            "single": [measure(head, test)["accuracy"] for head in heads],
            "ensemble": accuracy(together.predicted, together.targets),
            "soup": measure(average_weights(heads), test)["accuracy"],
        }
    ]


def self_training(seed: int, steps: int) -> list[dict]:
    """From 300 labels, two rounds with 500 other texts of the training part, whose labels only the
    log sees.

    The threshold is a rule, not a choice: the probability that a quarter of the validation texts
    reach (see SURE). Every round has as many steps as the first, so more rows are not more
    training.
    """
    train, test, scores = intents()["train"], Examples(intents()["test"], 64), {}
    labelled = draw_examples(train, 300, seed=seed)
    first = fresh_head(labelled, seed, steps)
    sure = predict(first, Examples(intents()["validation"], 64)).probabilities.amax(-1)
    threshold = float(torch.quantile(sure, SURE))
    run = self_train(
        lambda rows, round_: fresh_head(rows, seed, steps) if round_ else first,
        labelled,
        others(labelled),
        rounds=2,
        threshold=threshold,
        after=lambda head, round_: scores.update({round_: measure(head, test)["accuracy"]}),
    )
    return [
        {"seed": seed, "threshold": threshold, **row, "test_accuracy": scores[row["round"]]}
        for row in run.log.to_dict("records")
    ]


def active_learning(seed: int, steps: int) -> list[dict]:
    """100 labels, and twice 100 more out of 700 texts: the least certain by the margin, or any."""
    train, test, rows = intents()["train"], Examples(intents()["test"], 64), []
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    pool, n_first = train.select(order[: ACTIVE["pool"]]), ACTIVE["first"]
    first = fresh_head(pool.select(range(n_first)), seed, steps)

    def fit(part: Encoded, round_: int) -> SequenceClassifier:
        return fresh_head(part, seed, steps) if round_ else first

    for how in ("margin", "random"):
        scores: dict[int, float] = {}
        learn_actively(
            fit,
            pool,
            range(n_first),
            batch=ACTIVE["batch"],
            rounds=ACTIVE["rounds"],
            how=how,
            seed=seed,
            after=lambda head, round_, scores=scores: scores.update(
                {round_: measure(head, test)["accuracy"]}
            ),
        )
        rows += [
            {
                "how": how,
                "seed": seed,
                "labels": n_first + ACTIVE["batch"] * round_,
                "test_accuracy": score,
            }
            for round_, score in scores.items()
        ]
    return rows


def translation(seed: int, steps: int) -> list[dict]:
    """What comes back of 300 texts that go through the translation model twice; `steps` plays no
    part.

    The first row counts. `shared`: of the texts that came back changed, how many have a word of
    four letters or more (Chinese: two characters in a row) in common with the original. The others
    are examples, drawn by their order.
    """
    drawn = draw_examples(intents()["train"], 300, seed=seed)
    texts = [tokenizer().decode(row["input_ids"], skip_special_tokens=True) for row in drawn.rows]
    halfway, found = round_trip(texts)
    shared = sum(
        old != new and bool(_words(old) & _words(new))
        for old, new in zip(texts, found.texts, strict=True)
    )
    counts = {
        "seed": seed,
        "texts": len(texts),
        "changed": found.changed,
        "unchanged": found.unchanged,
        "empty": found.empty,
        "shared": shared,
    }
    left, examples = dict(SHOWN), []
    for text, half, back in zip(texts, halfway, found.texts, strict=True):
        language = "zh" if re.search("[\u4e00-\u9fff]", text) else "en"
        if left[language]:
            left[language] -= 1
            examples.append({"text": text, "halfway": half, "back": back})
    return [{**counts, "examples": examples}]


def _words(text: str) -> set[str]:
    runs = re.findall("[\u4e00-\u9fff]+", text)
    return set(re.findall(r"[a-z]{4,}", text.lower())) | {
        run[i : i + 2] for run in runs for i in range(len(run) - 1)
    }
