"""Losses that ask for the same answer twice: R-Drop (two dropout masks) and UDA (a text and its
augmentation)."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.tuning.arguments import Rate, require_logits
from moe_lib.tuning.examples import Encoded, Examples
from moe_lib.validation import NonNegative, Seed, checked


def kl_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(p ‖ q) of each row in nats, p = softmax(target), q = softmax(logits): (n, K), (n, K) ->
    (n,)."""
    require_logits("target", target)
    require_logits("logits", logits)
    got, wants = tuple(logits.shape), f"shape {tuple(target.shape)}"
    require(logits.shape == target.shape, "logits", got, wants)
    log_p, log_q = target.float().log_softmax(-1), logits.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@checked
@dataclass(frozen=True)
class RDrop:
    """Mean loss of two passes with different dropout, plus weight · (KL(p ‖ q) + KL(q ‖ p)) / 2
    (Liang et al. 2021).

    The model needs dropout (the head's, or ExpertDropout): without it both passes are the same, and
    the KL is 0.
    """

    weight: NonNegative = 1.0

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], options: dict):
        one, other = model(**batch, **options), model(**batch, **options)
        apart = (
            kl_divergence(one.logits, other.logits) + kl_divergence(other.logits, one.logits)
        ).mean() / 2
        return replace(one, loss=(one.loss + other.loss) / 2 + self.weight * apart)


class ConsistencyBatches:
    """Labelled examples, and beside them as many unlabelled texts with their augmentation:
    `.at(step)`.

    labelled    Examples of a SequenceClassifier
    unlabelled  Encoded; its labels, if it has any, are left out
    augmented   Encoded, the same texts changed, row by row (`augment_rows` with keep=False)

    A batch is that of `labelled`, with plain_ids, plain_mask, augmented_ids, augmented_mask:
    (batch, longest). Raises ValueError if unlabelled and augmented differ in length, or hold too
    few rows for a batch.
    """

    @checked
    def __init__(
        self, labelled: Examples, unlabelled: Encoded, augmented: Encoded, *, seed: Seed = 0
    ):
        same = len(unlabelled) == len(augmented)
        require(
            same,
            "augmented",
            f"{len(augmented)} rows",
            f"as many as unlabelled ({len(unlabelled)})",
        )
        size = labelled.batch_size
        require(
            len(unlabelled) >= size,
            "unlabelled",
            f"{len(unlabelled)} rows",
            f"at least a batch ({size})",
        )
        whole = len(unlabelled) - len(unlabelled) % size  # every batch of them is full
        bare = [
            Encoded(
                [{"input_ids": row["input_ids"]} for row in part.rows[:whole]], part.pad_token_id
            )
            for part in (unlabelled, augmented)
        ]
        self.labelled = labelled  # the two below have the same seed and size, so they shuffle alike
        self.plain, self.augmented = (Examples(part, size, seed=seed) for part in bare)

    def __len__(self) -> int:
        return len(self.labelled)

    def at(self, step: int) -> dict[str, Tensor]:
        require_whole("step", step, at_least=0)
        batch = dict(self.labelled.at(step))
        rows = len(batch["labels"])
        for name, source in (("plain", self.plain), ("augmented", self.augmented)):
            part = source.at(step)
            batch[f"{name}_ids"], batch[f"{name}_mask"] = (
                part["input_ids"][:rows],
                part["attention_mask"][:rows],
            )
        return batch


@checked
@dataclass(frozen=True)
class Consistency:
    """Loss of the labelled texts + weight · mean KL(p(plain) ‖ p(augmented)) (UDA, Xie et al.
    2020).

    p(plain) is a fixed target: no gradient flows into it. Texts whose largest p(plain) is below
    `threshold` add 0, and are still counted in the mean. For batches of ConsistencyBatches.
    """

    weight: NonNegative = 1.0
    threshold: Rate = 0.0

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], options: dict):
        require("plain_ids" in batch, "batch", sorted(batch), "a batch of ConsistencyBatches")
        names = ("plain_ids", "plain_mask", "augmented_ids", "augmented_mask")
        output = model(
            **{name: part for name, part in batch.items() if name not in names}, **options
        )
        with torch.no_grad():
            target = model(batch["plain_ids"], batch["plain_mask"]).logits
        said = model(batch["augmented_ids"], batch["augmented_mask"]).logits
        sure = F.softmax(target.float(), -1).amax(-1) >= self.threshold
        apart = (kl_divergence(target, said) * sure).mean()
        return replace(output, loss=output.loss + self.weight * apart)
