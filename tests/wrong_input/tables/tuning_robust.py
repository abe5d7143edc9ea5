"""Wrong input of attacks, of augmentation and of several heads as one."""

import random

import torch

from moe_lib.tuning.robust import (
    InTurn,
    MovingAverage,
    Synonyms,
    WordDropout,
    perturbed,
)
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    INF,
    MODEL,
    NAN,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    TEXTS,
    TOKENIZER,
    Entry,
)
from tests.wrong_input.tuning_small import (
    BATCH,
    BATCHES,
    ENCODED,
    HEAD,
    RATE,
    SEED,
    base,
    batch,
    batches,
    classifier,
    questions,
    reader,
    rows,
    tagger,
    tokenizer,
    without,
)

NAMED = "moe_lib.tuning.robust."
FUNCTION = [None, 3, "function", [print]]
CLASSIFIER = [*HEAD, base(), reader(), tagger()]
BASE_OR_HEAD = HEAD
EPSILON = [*POSITIVE, None]
WEIGHT = [*NON_NEGATIVE, None]
PROTECT = [None, 3, "words", [3], [None]]
TABLE = [None, 3, "table", [], {3: ("a",)}, {"a": "b"}, {"a": (3,)}, {"a": None}]


def upper(text, generator):
    return text.upper()


def shift(arguments: dict):
    with perturbed(arguments["model"], arguments["delta"]):
        arguments["model"](batch()["input_ids"])


def averaged(arguments: dict):
    average = MovingAverage(classifier())
    average({})
    average.copy_to(**arguments)


def changed(kind, arguments: dict):
    return kind(**arguments)("some words", random.Random(0))


ENTRIES = [
    Entry(NAMED + "FGM", lambda: dict(epsilon=1.0), {"epsilon": EPSILON, "weight": EPSILON}),
    Entry(
        NAMED + "PGD",
        lambda: dict(epsilon=1.0),
        {"epsilon": EPSILON, "steps": COUNT, "step_size": POSITIVE, "weight": EPSILON},
    ),
    Entry(
        NAMED + "worst_perturbation",
        lambda: dict(model=classifier(), batch=batch(), epsilon=1.0, steps=1),
        {
            "model": BASE_OR_HEAD,
            "batch": [*BATCH, without("labels"), without("input_ids")],
            "epsilon": EPSILON,
            "steps": COUNT,
            "step_size": POSITIVE,
            "options": [3, "options", [1]],
        },
    ),
    Entry(
        NAMED + "attack",
        lambda: dict(head=classifier(), batch=batch(), radius=0.5, steps=1),
        {
            "head": CLASSIFIER,
            "batch": [*BATCH, without("labels"), without("input_ids")],
            "radius": WEIGHT,
            "steps": COUNT,
            "random": FLAG,
            "seed": SEED,
        },
    ),
    Entry(
        NAMED + "attack_curve",
        lambda: dict(head=classifier(), batches=batches(), radii=[0.5], steps=1),
        {
            "head": CLASSIFIER,
            "batches": [*BATCHES, [{"input_ids": batch()["input_ids"]}]],
            "radii": [None, 3, "01", [], ["1"], [-1], [NAN], [INF], [None], [True]],
            "steps": COUNT,
            "seed": SEED,
        },
    ),
    Entry(
        NAMED + "perturbed",
        lambda: dict(model=base(), delta=torch.zeros(*batch()["input_ids"].shape, 16)),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2)],
            "delta": [None, "delta", 3, [[0.0]], torch.zeros(2, 2), torch.zeros(1, 1, 16).long()],
        },
        call=shift,
    ),
    Entry(
        NAMED + "embedding_norms",
        lambda: dict(model=base(), batch=batch()),
        {"model": BASE_OR_HEAD, "batch": [*BATCH, without("input_ids")]},
    ),
    Entry(
        NAMED + "Synonyms",
        lambda: dict(share=0.5, protect=["a"], table={"words": ("terms",)}),
        {"share": SHARE, "protect": PROTECT, "table": TABLE},
        call=lambda arguments: changed(Synonyms, arguments),
    ),
    Entry(
        NAMED + "WordDropout",
        lambda: dict(share=0.5, protect=["a"]),
        {"share": RATE, "protect": PROTECT},
        call=lambda arguments: changed(WordDropout, arguments),
    ),
    Entry(
        NAMED + "InTurn",
        lambda: dict(changes=[upper]),
        {"changes": [None, 3, "upper", upper, [3], [None], {"a": upper}]},
        call=lambda arguments: changed(InTurn, arguments),
    ),
    Entry(
        NAMED + "words_of_labels",
        lambda: dict(names=["cancel_order"]),
        {"names": [None, 3, "cancel_order", [3], [None], [b"a"]]},
    ),
    Entry(
        NAMED + "augment_texts",
        lambda: dict(texts=["a", "b"], change=upper),
        {"texts": TEXTS, "change": FUNCTION, "seed": SEED},
    ),
    Entry(
        NAMED + "back_translate",
        lambda: dict(texts=["a"], there=str.upper, back=str.lower),
        {
            "texts": TEXTS,
            "there": [*FUNCTION, len, lambda text: None],
            "back": [*FUNCTION, len, lambda text: None],
        },
    ),
    Entry(
        NAMED + "augment_rows",
        lambda: dict(encoded=rows(), tokenizer=tokenizer(), change=upper),
        {
            "encoded": [*ENCODED, questions()],
            "tokenizer": TOKENIZER,
            "change": FUNCTION,
            "copies": COUNT,
            "keep": FLAG,
            "seed": SEED,
            "max_length": [*COUNT, 1],
        },
    ),
    Entry(
        NAMED + "Augment",
        lambda: dict(tokenizer=tokenizer()),
        {"tokenizer": TOKENIZER, "synonyms": SHARE, "dropout": RATE, "copies": COUNT},
    ),
    Entry(
        NAMED + "ensemble",
        lambda: dict(heads=[classifier(), classifier()], batches=batches()),
        {
            "heads": [
                None,
                3,
                "heads",
                [],
                [3],
                [None],
                {},
                classifier(),
                [classifier(), tagger()],
            ],
            "batches": BATCHES,
        },
    ),
    Entry(
        NAMED + "average_weights",
        lambda: dict(heads=[classifier(), classifier()]),
        {"heads": [None, 3, "heads", [], [3], [None], {}, classifier(), [classifier(), reader()]]},
    ),
    Entry(
        NAMED + "MovingAverage",
        lambda: dict(model=classifier()),
        {"model": MODEL, "decay": RATE},
    ),
    Entry(
        NAMED + "MovingAverage.copy_to",
        lambda: dict(model=classifier()),
        {"model": [*MODEL, base(), tagger().classifier]},
        call=averaged,
    ),
    Entry(
        NAMED + "ExpertDropout",
        lambda: dict(experts=0.1),
        {"experts": RATE, "elsewhere": RATE},
    ),
]
EXEMPT = {
    NAMED + "Attacked": "a record that attack makes",
    NAMED + "BackTranslated": "a record that back_translate makes",
    NAMED + "load_synonyms": "it has no arguments; the lines of its files are checked one by one",
}
