"""Measuring a model: in eval mode (no dropout), every example counted once."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from moe_lib.errors import require
from moe_lib.labels import count_examples
from moe_lib.modules import bare, eval_mode
from moe_lib.training.diagnosis import TrainingDiverged, first_bad_module
from moe_lib.training.preflight import batch_on
from moe_lib.validation import checked


def evaluate(model: nn.Module, batches: Iterable) -> float:
    """Mean loss in nats per predicted token (of a task head: per example) over one epoch of
    `batches`, an iterable of dicts. See `measure` for what it raises."""
    return measure(model, batches)["loss"]


@checked
@torch.no_grad()
def measure(model: nn.Module, batches: Iterable) -> dict[str, float]:
    """loss in nats per example over all batches, and accuracy, 0 to 1, for heads with one answer
    per example. (Where several choices are right, choosing any of them counts.)

    Batches differ in size: their means are weighed by their examples, and one without a label
    weighs nothing. The mean of batch means would be another number.

    Raises ValueError if no batch has a label, TrainingDiverged for a loss that is not finite.
    """
    head = bare(model)
    single = hasattr(head, "count_right")
    loss = right = 0.0
    count = 0
    with eval_mode(model):
        for batch in batches:
            batch = batch_on(head, batch)
            examples = count_examples(head, batch["labels"])
            if not examples:
                continue
            output = model(**batch)
            if not math.isfinite(mean := float(output.loss)):
                cause = first_bad_module(head, lambda: head(**batch))  # noqa: B023 (called at once)
                raise TrainingDiverged(f"evaluation: the loss is {mean}; {cause}")
            loss += mean * examples
            count += examples
            if single:
                right += head.count_right(output.logits, batch["labels"])
    require(count > 0, "batches", "no label", "at least one")
    return {"loss": loss / count, **({"accuracy": right / count} if single else {})}
