"""The training loop: one function, from batches to a trained model and its history."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from moe_lib.devices import autocast, usable_device
from moe_lib.errors import require_takes
from moe_lib.training import preflight as checking
from moe_lib.training.evaluation import evaluate
from moe_lib.training.interrupt import FinishStepOnInterrupt
from moe_lib.training.optimiser import StepSettings, make_optimiser
from moe_lib.training.state import load_state, run_identity, save_state
from moe_lib.training.step import StepResult
from moe_lib.training.tensorboard import tensorboard_log
from moe_lib.training.together import here, step_for_all, stops_anywhere, together
from moe_lib.validation import Callback, Count, Flag, Natural, NonNegative, Positive, Share, checked


class BatchSource(Protocol):
    """`at(step)` is a pure function of the step: a resumed run sees the batches it would have."""

    def at(self, step: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class StepReport:
    """What a callback gets after each step: the row of the history, and the loads, one (E,) tensor
    per MoE layer. It may give the model another config for the steps to come, by
    `model.config.replace(aux_loss_alpha=0.0)`."""

    row: dict
    loads: list[Tensor]


@dataclass(frozen=True)
class TrainingRun:
    """history: a DataFrame, a row per step: loss, in nats per token, of the language alone;
    balance_loss, the sum of the balance losses; max_violation and load_entropy of the worst layer;
    dropped_share over all layers. interrupted: stopped early."""

    model: nn.Module
    history: Any
    interrupted: bool


@checked
@together
def train(
    model: nn.Module,
    batches: BatchSource,
    *,
    steps: Count,
    learning_rate: Positive = 3e-3,
    min_learning_rate_ratio: Share = 0.1,
    warmup_steps: Natural | None = None,
    weight_decay: NonNegative = 0.1,
    clip: Positive = 1.0,
    accumulation: Count = 1,
    evaluation: Any = None,
    evaluate_every: Count | None = None,
    folder: str | Path | None = None,
    save_every: Count = 100,
    resume: Flag = True,
    device: str | torch.device | None = None,
    bf16: Flag | None = None,
    progress: Flag = True,
    tensorboard: str | Path | None = None,
    callback: Callback = None,
) -> TrainingRun:
    """Train `model`, which torch.compile may have wrapped, in place for `steps` optimiser steps.

    batches        `.at(step)` gives dict(input_ids, labels[, attention_mask]), e.g. of
                   `moe_lib.text.Batches`
    learning_rate  peak; `warmup_steps` up (a tenth of the steps by default), then a cosine to
                   `min_learning_rate_ratio` of it
    clip           largest norm of the whole gradient
    accumulation   parts of every batch, one after the other in memory; the same step to rounding
    evaluation     batches of held-out data, measured every `evaluate_every` steps and at the end
    folder         keep the state of the run there every `save_every` steps: an interrupted or
                   killed run, called again, goes on from it (resume), bit for bit on a CPU
    device         where to train; None: where the model is
    bf16           bfloat16 autocast; None means on a GPU that has it
    tensorboard    folder for TensorBoard event files
    callback       called with a StepReport after each step; True, or what it raises, stops the run,
                   with its state saved

    An interrupt (Ctrl-C) finishes the step, saves, and returns what there is. TrainingDiverged at
    the first loss or gradient that is not finite names step and cause; ValueError or TypeError for
    bad settings comes first of all. Started by torchrun, each process takes its rows of every batch
    and all take one step (moe_lib.parallel); RankLost on all where one is lost.
    """
    plain = checking.trained_model(model)
    checking.require_batches(batches, plain)
    checking.require_reusable("evaluation", evaluation, plain, evaluate_every)
    require_takes("callback", callback, "a StepReport")
    checking.warn_of_half_precision(model, frames=5)  # `checked` and `together` too
    folder = checking.writable_folder("folder", folder)
    tensorboard = checking.writable_folder("tensorboard", tensorboard)
    rates = learning_rate, min_learning_rate_ratio, warmup_steps
    settings = StepSettings(steps, *rates, weight_decay, clip, accumulation)
    if device is not None:
        model.to(usable_device(device))
    optimiser = make_optimiser(plain, learning_rate, weight_decay)
    identity = run_identity(plain, settings)
    history = load_state(folder, plain, optimiser, identity) if folder and resume else []
    precision = autocast(next(plain.parameters()).device, bf16)
    labels = checking.FirstEpoch(batches, steps)
    take_step = step_for_all(model, optimiser, steps, accumulation, clip, precision)

    def keep(broken: bool = False) -> None:
        if folder and not (broken and here().several):  # the other ranks may be elsewhere
            save_state(folder, plain, optimiser, history, identity)

    model.train()
    stopped = False
    with FinishStepOnInterrupt() as interrupt, tensorboard_log(tensorboard) as log:
        looks = dict(disable=not progress, leave=False, desc="training", unit="step")
        bar = tqdm(range(len(history), steps), initial=len(history), total=steps, **looks)
        for step in bar:
            rate = settings.rate(step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = checking.batch_on(plain, batches.at(step))
            result = take_step(batch, step)
            labels.see(step, result.n_examples)
            history.append(row := _row(step, result, rate, batch))
            last = step + 1 == steps
            try:
                due = last or (evaluate_every is not None and (step + 1) % evaluate_every == 0)
                if evaluation is not None and due:
                    row["heldout_loss"] = evaluate(model, evaluation)
                said = {"loss": f"{row['loss']:.3f}", "MaxVio": f"{row['max_violation']:.2f}"}
                bar.set_postfix(said, refresh=last)
                log(row)
                if callback is not None:
                    stopped = bool(callback(StepReport(row, result.counts.loads)))
            except BaseException:
                keep(broken=True)  # the steps that are done are not lost
                raise
            stopped = stops_anywhere(stopped or interrupt.requested)
            if last or stopped or (step + 1) % save_every == 0:
                keep()
            if stopped:
                break
        bar.close()
    model.eval()
    import pandas as pd  # here, because it is slow to import

    return TrainingRun(model, pd.DataFrame(history), interrupted=stopped)


def _row(step: int, result: StepResult, rate: float, batch: dict[str, Tensor]) -> dict:
    return {
        "step": step,
        "loss": result.loss,
        "balance_loss": result.balance_loss,
        **result.counts.summary(),
        "gradient_norm": result.gradient_norm,
        "tokens": batch["input_ids"].numel(),
        "seconds": result.seconds,
        "learning_rate": rate,
    }
