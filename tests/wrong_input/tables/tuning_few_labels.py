"""Wrong input of calibration, of consistency and contrast, and of learning from few labels."""

import torch

from moe_lib.tuning.robust import (
    ConsistencyBatches,
    SimCSE,
    Temperature,
)
from tests.wrong_input.table import (
    CALLBACK,
    COUNT,
    INF,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    Entry,
)
from tests.wrong_input.tuning_small import (
    BATCHES,
    ENCODED,
    HEAD,
    RATE,
    SEED,
    WHOLE_LISTS,
    base,
    batch,
    batches,
    classifier,
    fit,
    reader,
    rows,
    tagger,
    unlabelled,
)

NAMED = "moe_lib.tuning.robust."
FUNCTION = [None, 3, "function", [print]]
CLASSIFIER = [*HEAD, base(), reader(), tagger()]
EPSILON = [*POSITIVE, None]
WEIGHT = [*NON_NEGATIVE, None]
LOGITS = torch.tensor([[0.0, 1.0], [2.0, 0.5]])
P = LOGITS.softmax(-1)
WRONG_LOGITS = [None, "logits", [[0.0]], LOGITS.long(), LOGITS[0], LOGITS[:0], LOGITS * NAN, 3]
WRONG_P = [None, 3, "p", [], {}, [0.5, 0.5], [["a", "b"]], [[0.5, 0.5], [1]], [[-1, 2], [1, 0]]]
WRONG_P += [[[NAN, 1], [1, 0]], [[0.5, 0.1], [1, 0]], P[0], P * NAN, P * 2]
TARGETS = [None, 3, "01", {}, [0], [0, 2], [0, -1], [0, 0.5], [0, "a"], [True, False], [0, NAN]]
VIEWS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
WRONG_VIEWS = [None, "views", [[0.0]], VIEWS.long(), VIEWS[0], VIEWS[:, :0], VIEWS[:2]]
SCORES = [None, "scores", {}, [], ["a"], [None], [[0.1]], [NAN], [INF], 0.5]


def consistency(arguments: dict):
    return ConsistencyBatches(**arguments)


ENTRIES = [
    Entry(
        NAMED + "Temperature",
        lambda: dict(value=1.0, loss_before=1.0, loss_after=1.0),
        {"value": EPSILON, "loss_before": [True, "0", None, NAN], "loss_after": [True, "0", NAN]},
    ),
    Entry(
        NAMED + "Temperature.__call__",
        lambda: dict(probabilities=P),
        {"probabilities": WRONG_P},
        call=lambda arguments: Temperature(2.0, 1.0, 1.0)(**arguments),
    ),
    *(
        Entry(
            NAMED + name,
            lambda: dict(probabilities=P, targets=[0, 1]),
            {"probabilities": WRONG_P, "targets": TARGETS},
        )
        for name in ("fit_temperature", "coverage_curve")
    ),
    Entry(NAMED + "RDrop", lambda: dict(weight=1.0), {"weight": WEIGHT}),
    Entry(
        NAMED + "Consistency",
        lambda: dict(weight=1.0),
        {"weight": WEIGHT, "threshold": RATE},
    ),
    Entry(
        NAMED + "ConsistencyBatches",
        lambda: dict(labelled=batches(), unlabelled=unlabelled(), augmented=unlabelled()),
        {
            "labelled": [None, "rows", 3, rows()],
            "unlabelled": [*ENCODED, unlabelled().select([0])],
            "augmented": [*ENCODED, unlabelled().select([0])],
            "seed": SEED,
        },
        {"unlabelled": "unlabelled"},
    ),
    Entry(
        NAMED + "ConsistencyBatches.at",
        lambda: dict(step=0),
        {"step": NATURAL},
        call=lambda arguments: consistency(
            dict(labelled=batches(), unlabelled=unlabelled(), augmented=unlabelled())
        ).at(**arguments),
    ),
    Entry(
        NAMED + "kl_divergence",
        lambda: dict(target=LOGITS, logits=LOGITS),
        {"target": WRONG_LOGITS, "logits": [*WRONG_LOGITS, LOGITS[:1], LOGITS[:, :1]]},
    ),
    Entry(
        NAMED + "info_nce",
        lambda: dict(one=VIEWS, other=VIEWS),
        {"one": WRONG_VIEWS[:-2], "other": WRONG_VIEWS, "temperature": EPSILON},
    ),
    Entry(
        NAMED + "info_nce",
        lambda: dict(one=VIEWS, other=VIEWS),
        {"one": [VIEWS[:1], VIEWS[:0]]},
        {"one": ""},  # of another shape than the other: either may be the wrong one
    ),
    Entry(
        NAMED + "SimCSE",
        lambda: dict(temperature=0.1),
        {"temperature": EPSILON, "pooling": ["max", "", None, 3, ["mean"]]},
        call=lambda arguments: SimCSE(**arguments),
    ),
    Entry(
        NAMED + "class_logits",
        lambda: dict(head=classifier(), batches=batches()),
        {"head": CLASSIFIER, "batches": [*BATCHES, [{"input_ids": batch()["input_ids"]}]]},
    ),
    Entry(NAMED + "max_probability", lambda: dict(logits=LOGITS), {"logits": WRONG_LOGITS}),
    Entry(
        NAMED + "energy_score",
        lambda: dict(logits=LOGITS),
        {"logits": WRONG_LOGITS, "temperature": EPSILON},
    ),
    Entry(
        NAMED + "auroc",
        lambda: dict(known=[0.9, 0.8], unknown=[0.1]),
        {"known": SCORES, "unknown": SCORES},
    ),
    Entry(
        NAMED + "uncertainty",
        lambda: dict(probabilities=P, how="margin"),
        {
            "probabilities": [None, "p", [[0.5]], P[0], P - 1, P * 3, P * NAN, P[:, :1]],
            "how": ["random", "", None, 3, ["margin"]],
        },
    ),
    Entry(
        NAMED + "learn_actively",
        lambda: dict(fit=fit, pool=rows(), first=[0], batch=1, rounds=1),
        {
            "fit": FUNCTION,
            "pool": ENCODED,
            "first": [*WHOLE_LISTS, [], [0, 0], [9]],
            "batch": COUNT,
            "rounds": [*NATURAL, 9],
            "how": ["loss", "", None, 3, ["margin"]],
            "seed": SEED,
            "after": CALLBACK,
        },
    ),
    Entry(
        NAMED + "self_train",
        lambda: dict(fit=fit, labelled=rows(), unlabelled=unlabelled(), rounds=1),
        {
            "fit": FUNCTION,
            "labelled": ENCODED,
            "unlabelled": [*ENCODED, rows()],
            "rounds": NATURAL,
            "threshold": SHARE,
            "after": CALLBACK,
        },
    ),
]
EXEMPT = {
    NAMED + "ActivelyLearned": "a record that learn_actively makes",
    NAMED + "SelfTrained": "a record that self_train makes",
}
