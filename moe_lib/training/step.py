"""One optimiser step of `train` and `finetune`: forward and backward in parts, update, balance."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.labels import count_in_batch, split
from moe_lib.modules import bare
from moe_lib.training import diagnosis
from moe_lib.training.bias_update import update_selection_biases
from moe_lib.training.counts import RoutingCounts


def model_loss(model: nn.Module, batch: dict[str, Tensor], options: dict):
    """The objective of ordinary training: what the model says."""
    return model(**batch, **options)


@dataclass(frozen=True)
class StepResult:
    """loss: in nats per example, without the balance loss; 0 over a batch without a label.
    gradient_norm: before clipping. n_examples: how many had a label."""

    loss: float
    balance_loss: float
    gradient_norm: float
    n_examples: int
    counts: RoutingCounts
    seconds: float


@dataclass
class OptimiserStep:
    """Calling it with a batch takes one step in place.

    accumulation  parts that a batch is cut into, one after the other in memory; they count by their
                  examples, as one mean would. A smaller batch is cut into fewer
    clip          largest norm of the whole gradient
    autocast      makes the context of a forward pass
    balance       add the balance loss, and move the selection biases
    objective     (model, part, options) -> an output with loss, balance_loss and routing
    attached      a method of `moe_lib.tuning.methods`; any of its extra_loss(), before_step(step,
                  steps) and after_step(step, steps) are called
    first_step    what messages call step 0
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    steps: int
    accumulation: int
    clip: float
    autocast: Callable = nullcontext
    balance: bool = True
    objective: Callable = model_loss
    options: dict = field(default_factory=dict)
    attached: object = None
    first_step: int = 0
    clip_gradients = staticmethod(nn.utils.clip_grad_norm_)

    def __call__(self, batch: dict[str, Tensor], step: int) -> StepResult:
        """`step` counts from 0. Raises TrainingDiverged for a loss or gradient that is not finite;
        the weights are then those from before the step."""
        started = time.perf_counter()
        device = next(self.model.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        rows = len(batch["input_ids"])
        if step == 0:  # later ones may be smaller: an epoch seldom divides evenly
            wants = f"at most the rows of a batch ({rows})"
            require(self.accumulation <= rows, "accumulation", self.accumulation, wants)
        self._said, self._plain = f"step {step + self.first_step}", bare(self.model)
        loss, balance_loss, n_examples, counts = self._accumulate(batch, rows)
        norm = self._update(step)
        if self.balance and (speed := self._plain.config.bias_update_speed):  # once, of all parts
            update_selection_biases(self._plain, counts.loads, speed)
        if hasattr(self.attached, "after_step"):
            self.attached.after_step(step, self.steps)
        seconds = time.perf_counter() - started
        return StepResult(float(loss), float(balance_loss), norm, n_examples, counts, seconds)

    def _accumulate(self, batch: dict[str, Tensor], rows: int) -> tuple:
        """Gradients of all parts."""
        parts = list(split(batch, min(self.accumulation, rows)))
        examples = [count_in_batch(self._plain, part) for part in parts]
        loss = balance_loss = 0.0
        counts = RoutingCounts()
        for part, count in zip(parts, examples, strict=True):
            with self.autocast():
                part_loss, output = self._forward(self.model, part, count)
            part_loss = part_loss * (count / max(1, sum(examples)))
            part_balance = output.balance_loss * (len(part["input_ids"]) / rows)
            if not torch.isfinite(part_loss + part_balance):
                again = partial(self._forward, self._plain, part, count)
                cause = diagnosis.first_bad_module(self._plain, again)
                self._stop(f"the loss is {part_loss.item()}; {cause}")
            total = part_loss + part_balance if self.balance else part_loss
            if total.requires_grad:
                total.backward()
            loss = loss + part_loss.detach()
            balance_loss = balance_loss + part_balance.detach()
            counts.add(output.routing, getattr(output, "mask", part.get("attention_mask")))
        return loss, balance_loss, sum(examples), counts

    def _forward(self, model: nn.Module, part: dict[str, Tensor], count: int) -> tuple:
        """loss and output of a part; one without a label weighs 0, but is routed and balanced."""
        if count:
            output = self.objective(model, part, self.options)
            return output.loss, output
        if part["input_ids"].dim() == 2:
            base = getattr(self._plain, "base", self._plain)
            output = base.hidden_states(part["input_ids"], part.get("attention_mask"))[1]
        else:  # several texts a row: only its head knows how to read them
            output = model(**{name: tensor for name, tensor in part.items() if name != "labels"})
        return torch.zeros((), device=part["input_ids"].device), output

    def _update(self, step: int) -> float:
        """Clip, check and apply the gradients; their norm."""
        extra = self.attached.extra_loss() if hasattr(self.attached, "extra_loss") else None
        if isinstance(extra, Tensor) and extra.requires_grad:  # once per step, not once per part
            extra.backward()
        if hasattr(self.attached, "before_step"):
            self.attached.before_step(step, self.steps)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        norm = self.clip_gradients(trained, self.clip)
        if not torch.isfinite(norm):
            cause = diagnosis.first_bad_gradient(self._plain)
            self._stop(f"the gradient is not finite although the loss is; first: {cause}")
        if too_short := diagnosis.step_if_it_fits(self.optimiser, trained):
            self._stop(f"the new weights do not fit into {too_short}; train model.float()")
        self.optimiser.zero_grad()
        return float(norm)

    def _stop(self, what: str):
        self.optimiser.zero_grad()
        raise diagnosis.TrainingDiverged(f"{self._said}: {what}")
