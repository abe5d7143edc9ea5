"""What task heads are made of: the losses, and one vector out of the hidden states of a text."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_lib.errors import require
from moe_lib.labels import IGNORED

POOLINGS = ("mean", "first", "last")


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the examples of (1 − ε)·(−log p_label) + ε·(mean over the allowed classes of −log
    p), in nats.

    logits (n, K), -inf where a class is not allowed; labels (n,) int64, -100 where there is none; ε
    label_smoothing (Szegedy et al. 2016). The same as torch's cross_entropy where all classes are
    allowed; torch's smoothing is infinite where one is not.
    """
    log_p = logits.float().log_softmax(-1)
    nll = F.nll_loss(log_p, labels, ignore_index=IGNORED, reduction="none")
    allowed = logits > -torch.inf
    spread = -log_p.masked_fill(~allowed, 0).sum(-1) / allowed.sum(-1)
    used = labels != IGNORED
    return ((1 - label_smoothing) * nll + label_smoothing * spread)[used].mean()


def cross_entropy_of_several(logits: Tensor, right: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the examples of the mean −log p over their right classes, in nats.

    logits (n, K), -inf where a class is not allowed; right (n, K) bool, one or more per row. It is
    the cross-entropy with a target that is even over the right classes: with m of them it is never
    below ln m, and there only if each has p = 1/m. (−log of their *summed* p would be content with
    one of them; a ranking wants them all on top.) With one right class it is `cross_entropy`, and
    label_smoothing is the same.
    """
    log_p = logits.float().log_softmax(-1)
    allowed = logits > -torch.inf
    nll = -log_p.masked_fill(~right, 0).sum(-1) / right.sum(-1)
    spread = -log_p.masked_fill(~allowed, 0).sum(-1) / allowed.sum(-1)
    return ((1 - label_smoothing) * nll + label_smoothing * spread).mean()


def pool(hidden: Tensor, mask: Tensor | None, how: str) -> Tensor:
    """One vector per row out of hidden (batch, sequence, d): the mean, first or last of its real
    tokens.

    mask (batch, sequence), 1 at real tokens; padding counts nowhere, on whichever side it stands.
    In a causal model only the last token has seen the whole text. Raises ValueError for a row
    without real tokens.
    """
    if mask is None:
        return hidden.mean(1) if how == "mean" else hidden[:, 0 if how == "first" else -1]
    mask = mask.bool()
    require(
        bool(mask.any(1).all()),
        "attention_mask",
        "a row of padding only",
        "a real token in each row",
    )
    if how == "mean":
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    place = (
        mask.int().argmax(1) if how == "first" else mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    )
    return hidden[torch.arange(len(hidden), device=hidden.device), place]
