"""Is this text one of those the classifier knows? Scores, higher for "known", and how well they
separate."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.modules import eval_mode
from moe_lib.tuning.heads import SequenceClassifier


@torch.no_grad()
def class_logits(head: SequenceClassifier, batches: Iterable[dict]) -> Tensor:
    """(n, K) float, on the CPU, in eval mode and in order. Labels are not looked at."""
    require(
        isinstance(head, SequenceClassifier),
        "head",
        type(head).__name__,
        "a SequenceClassifier",
        TypeError,
    )
    with eval_mode(head):
        found = [
            head(
                batch["input_ids"].to(head.base.device),
                batch["attention_mask"].to(head.base.device),
            ).logits
            for batch in batches
        ]
    require(bool(found), "batches", "none", "at least one")
    return torch.cat(found).float().cpu()


def max_probability(logits: Tensor) -> Tensor:
    """max softmax(logits): (n, K) -> (n,), 1/K to 1 (Hendrycks & Gimpel 2017)."""
    return logits.softmax(-1).amax(-1)


def energy_score(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T · log Σ exp(logit / T), the negative energy: (n, K) -> (n,) (Liu et al. 2020).

    It sees how large the logits are, which softmax divides away.
    """
    require(temperature > 0, "temperature", temperature, "more than 0")
    return temperature * torch.logsumexp(logits / temperature, -1)


def auroc(known: Sequence[float] | Tensor, unknown: Sequence[float] | Tensor) -> float:
    """The chance that a known text scores higher than an unknown one, ties half (scikit-learn's
    roc_auc_score).

    1: a threshold separates them; 0.5: the score says nothing. Raises ValueError if either is
    empty.
    """
    from sklearn.metrics import roc_auc_score

    known, unknown = (
        np.asarray(torch.as_tensor(scores), dtype=np.float64) for scores in (known, unknown)
    )
    for name, scores in (("known", known), ("unknown", unknown)):
        require(
            scores.ndim == 1 and len(scores) > 0, name, scores.shape, "shape (n,), n at least 1"
        )
    return float(
        roc_auc_score(np.r_[np.ones(len(known)), np.zeros(len(unknown))], np.r_[known, unknown])
    )
