"""Is this text one of those the classifier knows? Scores, higher for "known", and how well they
separate."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.modules import eval_mode
from moe_lib.tuning.arguments import checked_batches, require_batch, require_logits
from moe_lib.tuning.heads import SequenceClassifier
from moe_lib.validation import Positive, checked


@checked
@torch.no_grad()
def class_logits(head: SequenceClassifier, batches: Iterable[dict]) -> Tensor:
    """(n, K) float, on the CPU, in eval mode and in order. Labels are not looked at."""
    found, device = [], head.base.device
    with eval_mode(head):
        for batch in checked_batches(batches):
            require_batch("batches", batch, "attention_mask")
            ids, mask = (batch[name].to(device) for name in ("input_ids", "attention_mask"))
            found.append(head(ids, mask).logits)
    require(bool(found), "batches", "none", "at least one")
    return torch.cat(found).float().cpu()


def max_probability(logits: Tensor) -> Tensor:
    """max softmax(logits): (n, K) -> (n,), 1/K to 1 (Hendrycks & Gimpel 2017)."""
    require_logits("logits", logits)
    return logits.softmax(-1).amax(-1)


@checked
def energy_score(logits: Tensor, temperature: Positive = 1.0) -> Tensor:
    """T · log Σ exp(logit / T), the negative energy: (n, K) -> (n,) (Liu et al. 2020).

    It sees how large the logits are, which softmax divides away.
    """
    require_logits("logits", logits)
    return temperature * torch.logsumexp(logits / temperature, -1)


def auroc(known: Sequence[float] | Tensor, unknown: Sequence[float] | Tensor) -> float:
    """The chance that a known text scores higher than an unknown one, ties half (scikit-learn's
    roc_auc_score).

    1: a threshold separates them; 0.5: the score says nothing. Raises ValueError if either is
    empty.
    """
    from sklearn.metrics import roc_auc_score

    known, unknown = _scores("known", known), _scores("unknown", unknown)
    return float(
        roc_auc_score(np.r_[np.ones(len(known)), np.zeros(len(unknown))], np.r_[known, unknown])
    )


def _scores(argument: str, scores: Sequence[float] | Tensor) -> np.ndarray:
    """(n,) finite numbers, n at least 1."""
    try:
        found = np.asarray(torch.as_tensor(scores).detach().cpu(), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{argument}: got {type(scores).__name__}; wants numbers") from error
    require(found.ndim == 1 and len(found) > 0, argument, found.shape, "shape (n,), n at least 1")
    require(bool(np.isfinite(found).all()), argument, "a NaN or infinity", "finite numbers")
    return found
