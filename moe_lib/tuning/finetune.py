"""Fine-tuning: one function for task heads and for language models, whatever part of them is
trained."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from moe_lib.errors import require, require_number, require_takes, require_whole
from moe_lib.model import LanguageModel
from moe_lib.modules import bare
from moe_lib.training import make_optimiser
from moe_lib.training import preflight as checking
from moe_lib.training.evaluation import measure
from moe_lib.training.interrupt import FinishStepOnInterrupt
from moe_lib.training.optimiser import StepSettings
from moe_lib.training.step import OptimiserStep, model_loss
from moe_lib.tuning.arguments import require_batch
from moe_lib.tuning.task_head import TaskHead


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
    gradient is not finite; ValueError or TypeError for bad settings, before the first step. A
    method that this call attached is detached again if it raises.
    """
    _check(model, batches, label_smoothing, objective, validation, evaluate_every, patience)
    attaches = method is None or callable(getattr(method, "attach", None))
    require(attaches, "method", method, "an object with attach(model), or None", TypeError)
    for name, flag in (("balance", balance), ("progress", progress)):
        checking.require_flag(name, flag)
    require_takes("callback", callback, "a row of the history")
    require_whole("seed", seed, at_least=0)
    settings = StepSettings(
        steps=_number_of_steps(steps, epochs, batches),
        learning_rate=learning_rate,
        min_learning_rate_ratio=min_learning_rate_ratio,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        clip=clip,
        accumulation=accumulation,
    )
    usable = method is None or (hasattr(method, "attach") and not isinstance(method, type))
    require(usable, "method", method, "a method such as LoRA(), or None", TypeError)
    checking.warn_of_half_precision(model)
    plain = bare(model)
    devices = [_device(model)] if _device(model).type == "cuda" else []
    with torch.random.fork_rng(devices), FinishStepOnInterrupt() as interrupt:
        torch.manual_seed(seed)
        base = plain.base if isinstance(plain, TaskHead) else plain
        attached = None if method is None else method.attach(base)
        try:
            step = OptimiserStep(
                model,
                make_optimiser(plain, learning_rate, weight_decay),
                settings.steps,
                accumulation,
                clip,
                balance=balance,
                objective=model_loss if objective is None else _with_output(objective),
                options={"label_smoothing": label_smoothing} if isinstance(plain, TaskHead) else {},
                attached=attached,
                first_step=1,
            )
            rows = _rows(step, batches, settings, progress)
            every = evaluate_every or _an_epoch(batches, settings.steps)
            best, history = _Best(model), []
            model.train()
            for row in rows:
                history.append(row)
                done = row["step"]
                last = done == settings.steps or interrupt.requested
                if validation is not None and (last or done % every == 0):
                    found = measure(model, validation)
                    row.update({f"validation_{name}": value for name, value in found.items()})
                    best.see(row["validation_loss"], done, keep=patience is not None)
                stop = callback is not None and callback(row)
                waited = patience is not None and best.waited >= patience
                if stop or interrupt.requested or waited:
                    break
        except BaseException:
            if attached is not None and attached is not method and hasattr(attached, "detach"):
                attached.detach()
            raise
        if patience is not None:
            best.restore()
    model.eval()
    restored = patience is not None and best.step is not None
    return FineTuned(model, pd.DataFrame(history), best.step, restored, attached)


def _rows(take_step: OptimiserStep, batches, settings: StepSettings, progress: bool) -> Iterator:
    """Take the steps, one by one: the row of the history of each."""
    bar = tqdm(
        range(settings.steps), disable=not progress, leave=False, desc="fine-tuning", unit="step"
    )
    labels = checking.FirstEpoch(batches, settings.steps)
    for step in bar:
        rate = settings.rate(step)
        for group in take_step.optimiser.param_groups:
            group["lr"] = rate
        batch = batches.at(step)
        if step == 0:
            needs_labels = take_step.objective is model_loss
            require_batch("batches", batch, *(["labels"] if needs_labels else []))
        if take_step.objective is model_loss:
            batch = checking.batch_on(bare(take_step.model), batch)
        result = take_step(batch, step)
        labels.see(step, result.n_examples)
        yield {
            "step": step + 1,
            "loss": result.loss,
            "balance_loss": result.balance_loss,
            "gradient_norm": result.gradient_norm,
            "max_violation": result.counts.summary()["max_violation"],
            "seconds": result.seconds,
            "learning_rate": rate,
        }


def _with_output(objective: Callable) -> Callable:
    """The objective; TypeError where it returns something else than the output of a model."""

    def asked(model: nn.Module, part: dict, options: dict):
        output = objective(model, part, options)
        fits = isinstance(getattr(output, "loss", None), Tensor)
        fits = fits and hasattr(output, "balance_loss") and hasattr(output, "routing")
        wants = "to return an output with loss, balance_loss and routing"
        require(fits, "objective", output, wants, TypeError)
        return output

    return asked


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


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _an_epoch(batches, steps: int) -> int:
    return len(batches) if hasattr(batches, "__len__") else max(1, steps // 10)


def _number_of_steps(steps: int | None, epochs: int | None, batches) -> int:
    require((steps is None) != (epochs is None), "steps", (steps, epochs), "either steps or epochs")
    if epochs is None:
        return steps
    require_whole("epochs", epochs)
    wants = "batches that have a len(), or steps instead"
    require(hasattr(batches, "__len__"), "epochs", epochs, wants)
    return epochs * len(batches)


def _check(model, batches, label_smoothing, objective, validation, evaluate_every, patience):
    wants = "a task head or a LanguageModel"
    plain = checking.trained_model(model, wants)
    fits = isinstance(plain, TaskHead | LanguageModel)
    require(fits, "model", type(model).__name__, wants, TypeError)
    checking.require_batches(batches, plain)
    require_takes("objective", objective, "a model", "a batch", "options")
    checking.require_reusable("validation", validation, plain, evaluate_every)
    for number, batch in enumerate(validation if isinstance(validation, list | tuple) else ()):
        require_batch(f"validation[{number}]", batch, "labels")
    require_number("label_smoothing", label_smoothing, at_least=0, below=1)
    smooth = isinstance(plain, TaskHead) or label_smoothing == 0
    wants = "0 for a LanguageModel: only heads smooth labels"
    require(smooth, "label_smoothing", label_smoothing, wants)
    if evaluate_every is not None:
        require_whole("evaluate_every", evaluate_every)
    if patience is not None:
        require_whole("patience", patience)
        require(validation is not None, "patience", patience, "validation batches to watch")
