"""Measuring and predicting with a task head: in eval mode (no dropout), every example counted
once."""

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model.language_model import IGNORED
from moe_lib.tuning.heads import (
    MultipleChoice,
    SequenceClassifier,
    TaskHead,
    TokenClassifier,
    count_examples,
)


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
        for batch in batches:
            labels = batch.get("labels")
            inputs = {
                name: part.to(head.base.device) for name, part in batch.items() if name != "labels"
            }
            out = head(**inputs).logits.float().cpu()
            if isinstance(head, TokenClassifier):
                real = labels != IGNORED if labels is not None else batch["attention_mask"].bool()
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


@torch.no_grad()
def measure(model: nn.Module, batches: Iterable[dict]) -> dict[str, float]:
    """loss in nats per example over all batches, and accuracy for heads with one answer per
    example, 0 to 1. (Where several choices are right, choosing any of them counts.)

    Batches differ in size: their means are weighed by their examples. (The mean of batch means is
    another number, and divided once more by the number of examples it is far too small.)
    """
    device = next(model.parameters()).device
    loss = right = 0.0
    count = 0
    single = isinstance(model, SequenceClassifier | TokenClassifier | MultipleChoice)
    with eval_mode(model):
        for batch in batches:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            output, examples = model(**batch), count_examples(model, batch["labels"])
            loss += float(output.loss) * examples
            count += examples
            if single:
                right += _n_right(output.logits.argmax(-1), batch["labels"])
    require(count > 0, "batches", "no labelled example", "at least one")
    return {"loss": loss / count, **({"accuracy": right / count} if single else {})}


def _n_right(chosen: Tensor, labels: Tensor) -> int:
    """How many of chosen are labels, or, where labels has a dimension more, stand where it is 1."""
    if labels.dim() > chosen.dim():
        return int(labels.gather(-1, chosen[..., None]).sum())
    return int((chosen == labels).sum())


@contextmanager
def eval_mode(model: nn.Module):
    """Within the `with` block the model is in eval mode; afterwards in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
