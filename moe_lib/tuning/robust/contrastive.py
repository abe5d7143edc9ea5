"""Contrastive pretraining of an encoder, without labels: two views of a text belong together
(SimCSE, Gao et al. 2021).

dropout = ExpertDropout(0.1, 0.1).attach(model)  # the only difference between two views
finetune(model, Examples(texts, 32), steps=100, objective=SimCSE(), balance=False)
dropout.detach()
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.tuning.head_parts import POOLINGS, pool
from moe_lib.tuning.robust.perturbing import base_of
from moe_lib.validation import Choice, Positive, checked, require_tensor


@checked
def info_nce(one: Tensor, other: Tensor, temperature: Positive = 0.05) -> Tensor:
    """Mean over i of −log( exp(s_ii / τ) / Σ_j exp(s_ij / τ) ), s_ij the cosine of one_i and
    other_j, in nats.

    one, other (n, d): row i of both are two views of text i; the other rows of the batch are the
    wrong answers. ln n if the encoder tells nothing apart. Raises ValueError for other shapes, or
    fewer than two rows: one text alone has nothing to be told apart from, and its loss is 0.
    """
    require_tensor("one", one, ("n", "d"), "floating")
    require_tensor("other", other, tuple(one.shape), "floating")
    require(len(one) >= 2, "one", f"{len(one)} rows", "at least two")
    cosines = F.normalize(one.float(), dim=-1) @ F.normalize(other.float(), dim=-1).T  # (n, n)
    return F.cross_entropy(cosines / temperature, torch.arange(len(one), device=one.device))


@checked
@dataclass(frozen=True)
class SimCSE:
    """An objective for finetune: each batch goes through the encoder twice, and info_nce joins the
    two.

    temperature  τ
    pooling      how a text's hidden states become one vector, as in SequenceClassifier

    What differs between the views: dropout, which the model must have in training; and if batches
    hold augmented_ids and augmented_mask (ConsistencyBatches), the text too. Use batches without
    parts (accumulation=1): the wrong answers are the rest of the batch.
    """

    temperature: Positive = 0.05
    pooling: Choice(*POOLINGS) = "mean"

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], options: dict):
        base, mask = base_of(model), batch.get("attention_mask")
        other_ids, other_mask = batch["input_ids"], mask
        if "augmented_ids" in batch:
            other_ids, other_mask = batch["augmented_ids"], batch["augmented_mask"]
            batch = {"input_ids": batch["plain_ids"], "attention_mask": batch["plain_mask"]}
            mask = batch["attention_mask"]
        hidden, side = base.hidden_states(batch["input_ids"], mask)
        other, _ = base.hidden_states(other_ids, other_mask)
        loss = info_nce(
            pool(hidden, mask, self.pooling),
            pool(other, other_mask, self.pooling),
            self.temperature,
        )
        return SimpleNamespace(loss=loss, balance_loss=side.balance_loss, routing=side.routing)
