"""Wrong input of fine-tuning, of comparisons and of what they measure."""

import torch

from moe_lib.tuning import Case, Encoded, SequenceClassifier, TuningTask, finetune
from tests.wrong_input.table import (
    CALLBACK,
    COUNT,
    FLAG,
    INF,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    Entry,
    Made,
)
from tests.wrong_input.tuning_small import (
    DEVICE,
    ENCODED,
    HEAD,
    IDS,
    SEED,
    batch,
    batches,
    classifier,
    fresh_base,
    rows,
)

NAMED = "moe_lib.tuning."
OPTIONAL_COUNT = [value for value in COUNT if value is not None]
OPTIONAL_NATURAL = [value for value in NATURAL if value is not None]
FUNCTION = [None, 3, "function", [print]]
METHOD = [3, "LoRA", {}, [1]]
NAME = [None, 3, "", " ", b"a", ["a"], "two\nlines"]


class Fixed:
    """Batches that are always the same one."""

    def __init__(self, found):
        self.found = found

    def at(self, step):
        return self.found

    def __len__(self):
        return 2


def no_labels() -> dict:
    return {**batch(), "labels": torch.full_like(batch()["labels"], -100)}


def head():
    return SequenceClassifier(fresh_base(), 2)


def make_head(model):
    return SequenceClassifier(model, 2)


def task(**changes):
    return TuningTask("toy", **{"train": rows(), "test": rows(), "make_head": make_head, **changes})


def case(**changes):
    return Case("one", **{"base": fresh_base, "settings": {"steps": 1}, **changes})


ENTRIES = [
    Entry(
        NAMED + "finetune",
        lambda: dict(model=head(), batches=batches(), steps=1),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2)],
            "batches": [None, 3, "batches", [], {}, rows()]
            + [Fixed(bad) for bad in (None, 3, {}, {"input_ids": IDS}, {"input_ids": [[1]]})]
            + [Made("without a label in an epoch", lambda _: Fixed(no_labels()))],
            "steps": OPTIONAL_COUNT,
            "epochs": OPTIONAL_COUNT,
            "learning_rate": [*POSITIVE, None],
            "min_learning_rate_ratio": [*SHARE, None],
            "warmup_steps": OPTIONAL_NATURAL,
            "weight_decay": [*NON_NEGATIVE, None],
            "clip": [*POSITIVE, None],
            "accumulation": [*COUNT, 9],
            "label_smoothing": [-0.1, 1, True, "0", None, NAN, INF],
            "balance": FLAG,
            "validation": [3, "batches", iter([]), {}, [3], [{}], [{"input_ids": IDS}]],
            "evaluate_every": OPTIONAL_COUNT,
            "patience": [*OPTIONAL_COUNT, 1],
            "method": METHOD,
            "objective": [3, "loss", [print]],
            "callback": CALLBACK,
            "seed": SEED,
            "progress": FLAG,
        },
        {"epochs": "s"},  # as well as the steps: either may be the wrong one
        call=lambda arguments: finetune(**arguments),  # a module has the same name
    ),
    Entry(
        NAMED + "measure_rows",
        lambda: dict(model=classifier(), encoded=rows()),
        {"model": HEAD, "encoded": [*ENCODED, Encoded([], 0)]},
    ),
    Entry(
        NAMED + "TuningTask",
        lambda: dict(name="toy", train=rows(), test=rows(), make_head=make_head),
        {
            "name": NAME,
            "train": ENCODED,
            "test": ENCODED,
            "make_head": FUNCTION,
            "measure": FUNCTION,
            "metric": NAME,
            "higher_is_better": FLAG,
            "validation": ENCODED[1:],
            "batch_size": COUNT,
        },
    ),
    Entry(
        NAMED + "Case",
        lambda: dict(name="one", base=fresh_base),
        {
            "name": NAME,
            "base": [None, 3, "", b"a", ["a"], {}],
            "method": METHOD,
            "n_train": OPTIONAL_COUNT,
            "settings": [None, 3, "settings", [1], {"nothing": 1}, {"model": 1}, {3: 1}],
            "make_head": FUNCTION[1:],
            "prepare": FUNCTION[1:],
            "fit": FUNCTION,
        },
    ),
    Entry(
        NAMED + "compare",
        lambda: dict(cases=[case()], task=task(), seeds=(0,)),
        {
            "cases": [None, 3, "cases", [], {}, [3], [None], Made("twice", lambda _: [case()] * 2)],
            "task": [None, 3, "task", {}],
            "seeds": [None, 3, "01", [], [0, 0], [-1], [0.5], [True], ["0"], [None]],
            "pretraining": [3, "domains", [1]],
            "routing_text": [3, "text", [1], {}, {"text": IDS}],
            "scratch": [3, b"a", ["a"], ""],
            "device": DEVICE,
            "callback": CALLBACK,
            "progress": FLAG,
        },
    ),
]
EXEMPT = {
    NAMED + "Answer": "a record that predict_answers makes",
    NAMED + "FineTuned": "a record that finetune makes",
    NAMED + "HeadOutput": "a record that a head makes in every step",
    NAMED + "Interval": "a record that interval makes",
    NAMED + "Predictions": "a record that predict makes",
    NAMED + "Span": "a record that best_span makes",
}
