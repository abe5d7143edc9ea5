"""Self-training: a model labels texts for its successor, where it is sure enough (Lee 2013; Xie et
al. 2020)."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch

from moe_lib.errors import require
from moe_lib.tuning.examples import Encoded, Examples
from moe_lib.tuning.heads import SequenceClassifier
from moe_lib.tuning.predicting import predict
from moe_lib.validation import Callback, Natural, Share, checked


@dataclass(frozen=True)
class SelfTrained:
    """head: of the last round. log: a row per round, from 0 (labelled rows alone):

    pseudo (rows labelled by the head of the round before), share (of the unlabelled),
    pseudo_accuracy (how many of them are right; NaN where nothing was labelled or the right labels
    are not known), mean_confidence, classes (how many classes the pseudo labels have)
    """

    head: SequenceClassifier
    log: pd.DataFrame


@checked
def self_train(
    fit: Callable,
    labelled: Encoded,
    unlabelled: Encoded,
    *,
    rounds: Natural = 2,
    threshold: Share = 0.9,
    after: Callback = None,
) -> SelfTrained:
    """Train on the labels; label the sure ones of `unlabelled`; train a new model on both; and
    again.

    fit         (rows, round from 0) -> a trained head. Let it begin anew from the base each time: a
                model that goes on from its own answers can hardly take one back
    unlabelled  rows whose labels, if they have any, are used for the log only. Not the test rows: a
                model that was trained on them, even with its own labels, is not measured by them
                any more
    threshold   least probability of a pseudo label, 0 to 1. All rows are labelled anew in every
                round
    after       called with the head and the round, to measure it

    Raises ValueError for bad settings, or a text that is both labelled and unlabelled.
    """
    known = {tuple(row["input_ids"]) for row in labelled.rows}
    shared = sum(tuple(row["input_ids"]) in known for row in unlabelled.rows)
    require(
        shared == 0,
        "unlabelled",
        f"{shared} texts that are labelled too",
        "none of the labelled texts",
    )
    bare = Encoded(
        [{"input_ids": row["input_ids"]} for row in unlabelled.rows], unlabelled.pad_token_id
    )
    head, log = fit(labelled, 0), [_no_labels()]
    for round_ in range(1, rounds + 1):
        if after is not None:
            after(head, round_ - 1)
        found = predict(head, Examples(bare, 64))
        chosen = (found.probabilities.amax(-1) >= threshold).nonzero().flatten().tolist()
        rows = [{**bare.rows[index], "labels": int(found.predicted[index])} for index in chosen]
        log.append(_row(rows, chosen, unlabelled, found))
        head = fit(
            Encoded([*labelled.rows, *rows], labelled.pad_token_id, labelled.label_names), round_
        )
    if after is not None:
        after(head, rounds)
    return SelfTrained(head, pd.DataFrame(log).rename_axis("round").reset_index())


def _no_labels() -> dict:
    nan = float("nan")
    return {"pseudo": 0, "share": 0.0, "pseudo_accuracy": nan, "mean_confidence": nan, "classes": 0}


def _row(rows: list[dict], chosen: list[int], unlabelled: Encoded, found) -> dict:
    if not rows:
        return _no_labels()
    right = [
        row["labels"] == unlabelled.rows[index].get("labels")
        for row, index in zip(rows, chosen, strict=True)
    ]
    known = all("labels" in unlabelled.rows[index] for index in chosen)
    confidence = found.probabilities.amax(-1)[torch.tensor(chosen)]
    return {
        "pseudo": len(rows),
        "share": len(rows) / len(unlabelled),
        "pseudo_accuracy": sum(right) / len(right) if known else float("nan"),
        "mean_confidence": float(confidence.mean()),
        "classes": len({row["labels"] for row in rows}),
    }
