"""Fine-tuning: one function for task heads and for language models, whatever part of them is
trained."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel
from moe_lib.training import TrainingDiverged, make_optimiser, warmup_cosine
from moe_lib.training.counts import RoutingCounts
from moe_lib.training.interrupt import FinishStepOnInterrupt
from moe_lib.training.load_balance import update_selection_biases
from moe_lib.tuning.heads import TaskHead, count_examples
from moe_lib.tuning.predicting import measure


@dataclass(frozen=True)
class FineTuned:
    """What `finetune` returns.

    model       the head or model that was trained, in eval mode
    history     a row per step: step (from 1), loss in nats per example, balance_loss,
                learning_rate, gradient_norm, max_violation (of the worst MoE layer), seconds;
                validation_loss, and validation_accuracy for heads that have one, where it was
                measured
    best_step   steps done at the lowest validation loss; None without validation
    restored    True: the model is that of best_step; False: of the last step
    attached    what method.attach(...) gave, to switch it off, merge or save it; None without a
                method
    """

    model: nn.Module
    history: pd.DataFrame
    best_step: int | None
    restored: bool
    attached: Any


def finetune(
    model: TaskHead | LanguageModel,
    batches,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    learning_rate: float = 1e-3,
    min_learning_rate_ratio: float = 0.1,
    warmup_steps: int | None = None,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    accumulation: int = 1,
    label_smoothing: float = 0.0,
    balance: bool = True,
    validation=None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    method=None,
    objective: Callable | None = None,
    callback: Callable[[dict], bool | None] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FineTuned:
    """Train the parameters of `model` that require gradients, in place.

    batches          `.at(step)` gives a dict of the model's arguments, e.g. `Examples`; `epochs`
                     needs its len()
    learning_rate    peak; `warmup_steps` up (a tenth by default), then a cosine to
                     `min_learning_rate_ratio` of it
    weight_decay     AdamW's, on matrices only
    accumulation     cut a batch into this many parts, one after the other in memory: the same step
                     to rounding
    label_smoothing  for heads; only in training, measured losses are without it
    balance          True: add the balance loss, and move the selection bias of routers whose
                     weights are trained. False: neither (its size stands in the history all the
                     same)
    validation       an iterable of batches, measured every `evaluate_every` steps (an epoch by
                     default) and at the end
    patience         stop after so many measurements without a lower validation loss, and put the
                     best model back
    method           `method.attach(base)` freezes the base and adds what is trained instead; a head
                     trains as well. If what it returns has them, `extra_loss()` is added to the
                     loss, `before_step(step, steps)` is called when the gradients stand and
                     `after_step(step, steps)` after the step (from 0)
    objective        (model, batch, options) -> an output with loss, balance_loss and routing:
                     called instead of model(**batch, **options), see moe_lib.tuning.robust. Its
                     loss is a mean over the batch's examples; what is measured on the validation
                     set stays the plain loss
    callback         called with each row of the history; returning True stops
    seed             of dropout and of what the method draws; random numbers outside are left as
                     they were

    Ctrl-C finishes the step and returns what there is. Raises TrainingDiverged if the loss or the
    gradient is not finite; ValueError or TypeError for bad settings.
    """
    steps = _check(
        model,
        batches,
        steps,
        epochs,
        learning_rate,
        accumulation,
        label_smoothing,
        validation,
        patience,
    )
    require(
        objective is None or callable(objective),
        "objective",
        objective,
        "a function or None",
        TypeError,
    )
    warmup = warmup_steps if warmup_steps is not None else max(1, steps // 10)
    every = evaluate_every or (len(batches) if hasattr(batches, "__len__") else max(1, steps // 10))
    devices = [_device(model)] if _device(model).type == "cuda" else []
    with torch.random.fork_rng(devices), FinishStepOnInterrupt() as interrupt:
        torch.manual_seed(seed)
        attached = None if method is None else method.attach(_base(model))
        optimiser = make_optimiser(model, learning_rate, weight_decay)
        best, history = _Best(model), []
        model.train()
        for step in tqdm(
            range(steps), disable=not progress, leave=False, desc="fine-tuning", unit="step"
        ):
            rate = learning_rate * warmup_cosine(step, steps, warmup, min_learning_rate_ratio)
            for group in optimiser.param_groups:
                group["lr"] = rate
            row = _step(
                model,
                optimiser,
                batches.at(step),
                step,
                steps,
                accumulation,
                clip,
                label_smoothing,
                balance,
                attached,
                objective or _plain,
            )
            row["learning_rate"] = rate
            history.append(row)
            last = step + 1 == steps or interrupt.requested
            if validation is not None and (last or (step + 1) % every == 0):
                row.update(
                    {
                        f"validation_{name}": value
                        for name, value in measure(model, validation).items()
                    }
                )
                best.see(row["validation_loss"], step + 1, keep=patience is not None)
            stop = callback is not None and callback(row)
            if stop or interrupt.requested or (patience is not None and best.waited >= patience):
                break
        if patience is not None:
            best.restore()
    model.eval()
    return FineTuned(
        model,
        pd.DataFrame(history),
        best.step,
        patience is not None and best.step is not None,
        attached,
    )


def _plain(model: nn.Module, batch: dict[str, Tensor], options: dict):
    """The objective of ordinary training."""
    return model(**batch, **options)


def _step(
    model,
    optimiser,
    batch,
    step,
    steps,
    accumulation,
    clip,
    label_smoothing,
    balance,
    attached,
    objective,
) -> dict:
    """One optimiser step over `batch`, in parts that count by their examples, as one mean would."""
    started = time.perf_counter()
    device = _device(model)
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    rows = len(batch["input_ids"])
    require(
        accumulation <= rows, "accumulation", accumulation, f"at most the rows of a batch ({rows})"
    )
    options = {"label_smoothing": label_smoothing} if isinstance(model, TaskHead) else {}
    total, counts = _examples(model, batch), RoutingCounts()
    loss = balance_loss = 0.0
    for places in torch.arange(rows, device=device).tensor_split(accumulation):
        part = {name: tensor[places] for name, tensor in batch.items()}
        output = objective(model, part, options)
        part_loss = output.loss * (_examples(model, part) / total)
        part_balance = output.balance_loss * (len(places) / rows)
        _require_finite(part_loss + part_balance, step, "loss", optimiser)
        (part_loss + part_balance if balance else part_loss).backward()
        loss, balance_loss = loss + part_loss.item(), balance_loss + part_balance.item()
        counts.add(output.routing, getattr(output, "mask", part.get("attention_mask")))
    if hasattr(attached, "extra_loss"):  # once per step, not once per part
        extra = attached.extra_loss()
        if isinstance(extra, Tensor) and extra.requires_grad:
            extra.backward()
    if hasattr(attached, "before_step"):
        attached.before_step(step, steps)
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], clip)
    _require_finite(norm, step, "gradient", optimiser)
    optimiser.step()
    optimiser.zero_grad()
    if balance:
        update_selection_biases(model, counts.loads, model.config.bias_update_speed)
    if hasattr(attached, "after_step"):
        attached.after_step(step, steps)
    return {
        "step": step + 1,
        "loss": loss,
        "balance_loss": balance_loss,
        "gradient_norm": float(norm),
        "max_violation": counts.summary()["max_violation"],
        "seconds": time.perf_counter() - started,
    }


def _examples(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """What the mean loss runs over; rows where an objective needs no labels."""
    return count_examples(model, batch["labels"]) if "labels" in batch else len(batch["input_ids"])


class _Best:
    """The lowest validation loss so far, and the tensors that training changes as they were
    then."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.loss, self.step, self.waited = float("inf"), None, 0
        self.tensors: list[tuple[Tensor, Tensor]] = []

    def see(self, loss: float, step: int, keep: bool) -> None:
        if loss < self.loss:
            self.loss, self.step, self.waited = loss, step, 0
            if keep:  # buffers too: a router's selection bias moves without a gradient
                changing = [p for p in self.model.parameters() if p.requires_grad] + list(
                    self.model.buffers()
                )
                self.tensors = [(tensor, tensor.detach().clone()) for tensor in changing]
        else:
            self.waited += 1

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in self.tensors:
            tensor.copy_(value)


def _require_finite(number: Tensor, step: int, what: str, optimiser) -> None:
    if not torch.isfinite(number):
        optimiser.zero_grad()
        raise TrainingDiverged(
            f"step {step + 1}: the {what} is {number.item()}; a lower learning_rate may help"
        )


def _base(model: nn.Module) -> LanguageModel:
    return model.base if isinstance(model, TaskHead) else model


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _check(
    model,
    batches,
    steps,
    epochs,
    learning_rate,
    accumulation,
    label_smoothing,
    validation,
    patience,
) -> int:
    """The number of steps."""
    kind = type(model).__name__
    require(
        isinstance(model, TaskHead | LanguageModel),
        "model",
        kind,
        "a task head or a LanguageModel",
        TypeError,
    )
    require(
        hasattr(batches, "at"),
        "batches",
        type(batches).__name__,
        "an object with at(step)",
        TypeError,
    )
    require((steps is None) != (epochs is None), "steps", (steps, epochs), "either steps or epochs")
    if epochs is not None:
        require_whole("epochs", epochs)
        require(
            hasattr(batches, "__len__"),
            "epochs",
            epochs,
            "batches that have a len(), or steps instead",
        )
        steps = epochs * len(batches)
    require_whole("steps", steps)
    require_whole("accumulation", accumulation)
    require(learning_rate > 0, "learning_rate", learning_rate, "more than 0")
    smooth = isinstance(model, TaskHead) or label_smoothing == 0
    require(
        smooth,
        "label_smoothing",
        label_smoothing,
        "0 for a LanguageModel: only heads smooth labels",
    )
    once = validation is None or iter(validation) is not validation
    require(
        once,
        "validation",
        type(validation).__name__,
        "a list of batches or Examples: a generator is used up once",
    )
    if patience is not None:
        require_whole("patience", patience)
        require(validation is not None, "patience", patience, "validation batches to watch")
    return steps
