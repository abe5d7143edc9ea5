"""Wrong input of stored comparisons, and of what is measured beside a task."""

import json

import pandas as pd
import torch

from moe_lib.tuning import Comparison
from tests.wrong_input.table import (
    COUNT,
    MODEL,
    NAN,
    NATURAL,
    PATH,
    TOKENIZER,
    Entry,
    Made,
)
from tests.wrong_input.tuning_small import (
    IDS,
    MASK,
    WRONG_IDS,
    WRONG_MASK,
    base,
    chats,
    classifier,
    folder,
    tokenizer,
)

NAMED = "moe_lib.tuning."
OPTIONAL_COUNT = [value for value in COUNT if value is not None]
OPTIONAL_NATURAL = [value for value in NATURAL if value is not None]
FUNCTION = [None, 3, "function", [print]]
METHOD = [3, "LoRA", {}, [1]]
NAME = [None, 3, "", " ", b"a", ["a"], "two\nlines"]
LAYERS = [torch.ones(3, 4, dtype=torch.bool)]
WRONG_LAYERS = [None, 3, "layers", {}, [3], [None], [LAYERS[0].float()], [LAYERS[0][0]]]
FRAME = pd.DataFrame(
    {"case": ["one", "two"], "n_train": [8, 8], "seed": [0, 0], "test_accuracy": [0.5, 0.6]}
)


def found() -> Comparison:
    about = {"task": "toy", "metric": "accuracy", "cases": {}, "seeds": [0]}
    return Comparison(FRAME, pd.DataFrame(), about)


def study() -> str:
    place = folder() / "study.json"
    if not place.exists():
        found().save(place)
    return str(place)


def damaged(name: str, value) -> Made:
    def make(arguments: dict) -> str:
        content = json.loads((folder() / "study.json").read_text(encoding="utf-8"))
        (folder() / "damaged.json").write_text(json.dumps({**content, name: value}))
        return str(folder() / "damaged.json")

    return Made(f"with {name} {value!r}", make)


def on_comparison(name: str, wrong: dict, **valid) -> Entry:
    return Entry(
        f"{NAMED}Comparison.{name}",
        lambda: dict(valid),
        wrong,
        call=lambda arguments: getattr(found(), name)(**arguments),
    )


ENTRIES = [
    Entry(
        NAMED + "Comparison",
        lambda: dict(runs=FRAME, curves=FRAME, about={"metric": "accuracy"}),
        {"runs": [None, 3, "runs", {}, []], "curves": [None, 3, []], "about": [None, 3, "a", []]},
    ),
    on_comparison(
        "summary",
        {
            "metrics": [3, "nothing", ["nothing"], [3], {}, "case"],
            "confidence": [0, 1, 1.1, True, "0.9", None, NAN],
        },
        metrics="test_accuracy",
    ),
    on_comparison(
        "paired",
        {
            "a": [*NAME, "nobody"],
            "b": [*NAME, "nobody"],
            "metric": ["nothing", 3, ["a"]],
            "n_train": [*OPTIONAL_COUNT, 9],
            "confidence": [0, 1, 1.1, True, "0.9", None, NAN],
        },
        a="one",
        b="two",
    ),
    on_comparison("save", {"path": PATH, "points": COUNT}, path=str(folder() / "found.json")),
    Entry(
        NAMED + "load_comparison",
        lambda: dict(path=study()),
        {"path": [*PATH, "", "nowhere.json"]},
        {"path": ""},
    ),
    Entry(
        NAMED + "load_comparison",
        lambda: dict(path=study()),
        {
            "path": [
                damaged(name, value)
                for name in ("kind", "about", "runs", "runs_columns", "curves", "curves_columns")
                for value in (None, 3, "text", True)
            ]
        },
        {"path": "damaged.json"},
    ),
    Entry(
        NAMED + "interval",
        lambda: dict(values=[0.1, 0.2]),
        {
            "values": [None, 3, "01", ["0"], [True], {}, [[0.1]]],
            "confidence": [0, 1, 1.1, True, "0.9", None, NAN],
        },
    ),
    Entry(
        NAMED + "pretraining_domains",
        lambda: dict(model=base(), tokenizer=tokenizer(), rows=1, length=8),
        {
            "model": MODEL,
            "tokenizer": TOKENIZER,
            "corpus": ["nowhere", "", None, 3, ["mixture"]],
            "rows": COUNT,
            "length": [*COUNT, 1],
        },
    ),
    Entry(
        NAMED + "domain_losses",
        lambda: dict(model=base(True), domains={"chats": [_chat_batch()]}),
        {
            "model": [*MODEL, classifier()],
            "domains": [None, 3, "domains", [], {}, {"a": 3}, {"a": None}, {"a": [3]}]
            + [{"a": [{}]}, {"a": [{"input_ids": IDS}]}, {"a": {}}],
        },
    ),
    Entry(
        NAMED + "expert_choices",
        lambda: dict(model=base(), input_ids=IDS, attention_mask=MASK),
        {
            "model": [*MODEL, classifier()],
            "input_ids": WRONG_IDS,
            "attention_mask": WRONG_MASK,
        },
    ),
    Entry(
        NAMED + "routing_change",
        lambda: dict(before=LAYERS, after=LAYERS),
        {"before": WRONG_LAYERS, "after": [*WRONG_LAYERS, [], [LAYERS[0][:2]]]},
    ),
]


def _chat_batch() -> dict:
    from moe_lib.tuning import Examples

    return Examples(chats(), 2).at(0)
