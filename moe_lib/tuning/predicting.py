"""Predicting with a task head: in eval mode (no dropout), every example once."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.modules import eval_mode
from moe_lib.tuning.arguments import checked_batches
from moe_lib.tuning.heads import MultipleChoice, SequenceClassifier, TokenClassifier
from moe_lib.tuning.task_head import TaskHead


@dataclass(frozen=True)
class Predictions:
    """probabilities (n, K) float, rows sum to 1, and predicted (n,) int64, the likeliest; targets
    (n,) int64, or None where the batches have no labels. n counts texts, questions with choices, or
    tokens.

    Where several choices are right, targets is (n, K), 1 at each of them."""

    probabilities: Tensor
    predicted: Tensor
    targets: Tensor | None


@torch.no_grad()
def predict(head: TaskHead, batches: Iterable[dict]) -> Predictions:
    """Predictions of a SequenceClassifier, TokenClassifier or MultipleChoice for all batches, in
    order, on the CPU.

    A TokenClassifier gives the labelled tokens; without labels, the real ones. A choice that a row
    lacks has probability 0. For a SpanExtractor see `predict_answers`. Raises TypeError for another
    model.
    """
    fits = isinstance(head, SequenceClassifier | TokenClassifier | MultipleChoice)
    require(
        fits,
        "head",
        type(head).__name__,
        "a SequenceClassifier, TokenClassifier or MultipleChoice",
        TypeError,
    )
    logits, targets = [], []
    with eval_mode(head):
        for batch in checked_batches(batches):
            labels = batch.get("labels")
            inputs = {
                name: part.to(head.base.device) for name, part in batch.items() if name != "labels"
            }
            out = head(**inputs).logits.float().cpu()
            if isinstance(head, TokenClassifier):
                shape = batch["input_ids"].shape
                got = shape if labels is None else labels.shape
                require(got == shape, "batches", f"labels {tuple(got)}", "a label for each token")
                mask = batch.get("attention_mask", torch.ones(shape))
                real = mask.bool() if labels is None else labels != IGNORED
                out, labels = out[real.cpu()], None if labels is None else labels[real]
            logits.append(out)
            targets.append(labels)
    require(bool(logits), "batches", "none", "at least one")
    widest = max(out.shape[1] for out in logits)
    wide = [nn.functional.pad(out, (0, widest - out.shape[1]), value=-torch.inf) for out in logits]
    probabilities = torch.cat(wide).softmax(-1)
    if any(part is None for part in targets):
        return Predictions(probabilities, probabilities.argmax(-1), None)
    if (
        targets[0].dim() == 2
    ):  # several right choices; batches may differ in their number of choices
        targets = [nn.functional.pad(part, (0, widest - part.shape[1])) for part in targets]
    return Predictions(probabilities, probabilities.argmax(-1), torch.cat(targets).cpu())
