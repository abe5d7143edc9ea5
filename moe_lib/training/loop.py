"""The training loop: one function, from batches to a trained model and its history."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from moe_lib.errors import require, require_whole
from moe_lib.training.counts import RoutingCounts
from moe_lib.training.diagnosis import TrainingDiverged, first_bad_gradient, first_bad_module
from moe_lib.training.interrupt import FinishStepOnInterrupt
from moe_lib.training.load_balance import update_selection_biases
from moe_lib.training.optimiser import make_optimiser, warmup_cosine
from moe_lib.training.state import load_state, save_state

if TYPE_CHECKING:
    import pandas as pd

IGNORED = -100


class BatchSource(Protocol):
    """Anything with `at(step)`: a pure function of the step, so that a resumed run sees the batches
    it would have."""

    def at(self, step: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class StepReport:
    """What a callback gets after each step: the row of the history, and the loads (one (E,) tensor
    per MoE layer).

    A callback may change factors for the steps to come: model.config =
    model.config.replace(aux_loss_alpha=0.0).
    """

    row: dict
    loads: list[Tensor]


@dataclass(frozen=True)
class TrainingRun:
    """history: a row per step: loss in nats per token, without the balance losses, which stand in
    balance_loss; max_violation and load_entropy of the worst layer; dropped_share over all layers.
    interrupted: stopped early."""

    model: nn.Module
    history: "pd.DataFrame"
    interrupted: bool


def train(
    model: nn.Module,
    batches: BatchSource,
    *,
    steps: int,
    learning_rate: float = 3e-3,
    min_learning_rate_ratio: float = 0.1,
    warmup_steps: int | None = None,
    weight_decay: float = 0.1,
    clip: float = 1.0,
    accumulation: int = 1,
    evaluation=None,
    evaluate_every: int | None = None,
    folder: str | Path | None = None,
    save_every: int = 100,
    resume: bool = True,
    device: str | torch.device | None = None,
    bf16: bool | None = None,
    progress: bool = True,
    tensorboard: str | Path | None = None,
    callback: Callable[[StepReport], bool | None] | None = None,
) -> TrainingRun:
    """Train `model` in place for `steps` optimiser steps and return a TrainingRun.

    batches        `.at(step)` gives dict(input_ids, labels[, attention_mask]), e.g.
                   `moe_lib.text.Batches`
    learning_rate  peak; `warmup_steps` up (a tenth of the steps by default), then a cosine to
                   `min_learning_rate_ratio` of it
    clip           largest norm of the whole gradient
    accumulation   cut every batch into this many parts, one after the other in memory; the same
                   step to rounding
    evaluation     batches with one epoch of held-out data, measured every `evaluate_every` steps
                   and at the end
    folder         keep the state of the run there every `save_every` steps; an interrupted or
                   killed run goes on from it when called again (resume=True), bit for bit the same
                   on a CPU
    device         where to train; None leaves the model where it is
    bf16           bfloat16 autocast; None means on a GPU that has it
    tensorboard    folder for TensorBoard event files
    callback       called with a StepReport after each step; returning True stops the run

    An interrupt (Ctrl-C) finishes the step, saves, and returns what there is. Raises
    TrainingDiverged at the first loss or gradient that is not finite, naming the step and the
    cause; ValueError or TypeError for bad settings.
    """
    for name, value in (
        ("steps", steps),
        ("accumulation", accumulation),
        ("save_every", save_every),
    ):
        require_whole(name, value)
    require(learning_rate > 0, "learning_rate", learning_rate, "more than 0")
    require(clip > 0, "clip", clip, "more than 0")
    require(
        hasattr(batches, "at"),
        "batches",
        type(batches).__name__,
        "an object with at(step)",
        TypeError,
    )
    warmup = warmup_steps if warmup_steps is not None else max(1, steps // 10)
    require_whole("warmup_steps", warmup, at_least=0)
    if device is not None:
        model.to(device)
    device = next(model.parameters()).device
    autocast = _autocast(device, bf16)
    optimiser = make_optimiser(model, learning_rate, weight_decay)
    settings = dict(
        steps=steps,
        learning_rate=learning_rate,
        min_learning_rate_ratio=min_learning_rate_ratio,
        warmup_steps=warmup,
        weight_decay=weight_decay,
        clip=clip,
        accumulation=accumulation,
    )
    history = load_state(Path(folder), model, optimiser, settings) if folder and resume else []

    model.train()
    stopped = False
    with FinishStepOnInterrupt() as interrupt, _tensorboard(tensorboard) as log:
        bar = tqdm(
            range(len(history), steps),
            initial=len(history),
            total=steps,
            disable=not progress,
            leave=False,
            desc="training",
            unit="step",
        )
        for step in bar:
            factor = warmup_cosine(step, steps, warmup, min_learning_rate_ratio)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * factor
            row, loads = _step(
                model, optimiser, batches.at(step), step, accumulation, clip, autocast
            )
            if (
                model.config.bias_update_speed
            ):  # once per optimiser step, from the loads of all its parts
                update_selection_biases(model, loads, model.config.bias_update_speed)
            row["learning_rate"] = learning_rate * factor
            last = step + 1 == steps
            if evaluation is not None and (
                last or (evaluate_every and (step + 1) % evaluate_every == 0)
            ):
                row["heldout_loss"] = evaluate(model, evaluation)
            history.append(row)
            bar.set_postfix(
                loss=f"{row['loss']:.3f}", MaxVio=f"{row['max_violation']:.2f}", refresh=last
            )
            log(row)
            stopped = (
                bool(callback is not None and callback(StepReport(row, loads)))
                or interrupt.requested
            )
            if folder and (last or stopped or (step + 1) % save_every == 0):
                save_state(Path(folder), model, optimiser, history, settings)
            if stopped:
                break
        bar.close()
    model.eval()
    import pandas as pd  # here, because it is slow to import

    return TrainingRun(model, pd.DataFrame(history), interrupted=stopped)


def _step(model, optimiser, batch, step, accumulation, clip, autocast) -> tuple[dict, list[Tensor]]:
    """One optimiser step over `batch`, in parts that count by their labelled tokens, as one mean
    would."""
    started = time.perf_counter()
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    parts = list(_split(batch, accumulation))
    labelled = [_labelled(model, part["labels"]) for part in parts]
    loss = balance = 0.0
    counts = RoutingCounts()
    for part, count in zip(parts, labelled, strict=True):
        with autocast():
            output = model(**part)
        part_loss = output.loss * (count / sum(labelled))
        part_balance = output.balance_loss * (len(part["labels"]) / len(batch["labels"]))
        if not torch.isfinite(part_loss + part_balance):
            optimiser.zero_grad()
            raise TrainingDiverged(
                f"step {step}: the loss is {part_loss.item()}; {first_bad_module(model, part)}"
            )
        (part_loss + part_balance).backward()
        loss, balance = loss + part_loss.detach(), balance + part_balance.detach()
        counts.add(output.routing, part.get("attention_mask"))
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    if not torch.isfinite(norm):
        cause = first_bad_gradient(model)
        optimiser.zero_grad()
        raise TrainingDiverged(
            f"step {step}: the gradient is not finite although the loss is; first: {cause}"
        )
    optimiser.step()
    optimiser.zero_grad()
    row = {
        "step": step,
        "loss": float(loss),
        "balance_loss": float(balance),
        **counts.summary(),
        "gradient_norm": float(norm),
        "tokens": batch["input_ids"].numel(),
        "seconds": time.perf_counter() - started,
    }
    return row, counts.loads


@torch.no_grad()
def evaluate(model: nn.Module, batches) -> float:
    """Mean loss in nats per predicted token over one epoch of `batches` (an iterable of dicts)."""
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        labelled = _labelled(
            model, batch["labels"]
        )  # batches differ in labels: weigh by tokens, not by batches
        total += float(model(**batch).loss) * labelled
        count += labelled
    model.train(was_training)
    require(count > 0, "batches", "no labelled token", "at least one")
    return total / count


def _labelled(model, labels: Tensor) -> int:
    predicted = labels[:, 1:] if model.config.causal else labels
    return int((predicted != IGNORED).sum())


def _split(batch: dict[str, Tensor], parts: int) -> Iterator[dict[str, Tensor]]:
    rows = len(batch["input_ids"])
    require(rows >= parts, "accumulation", parts, f"at most the rows of a batch ({rows})")
    for index in torch.arange(rows).tensor_split(parts):
        yield {name: tensor[index[0] : index[-1] + 1] for name, tensor in batch.items()}


def _autocast(device: torch.device, bf16: bool | None):
    wanted = device.type == "cuda" and torch.cuda.is_bf16_supported() if bf16 is None else bf16
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=wanted)


@contextmanager
def _tensorboard(folder: str | Path | None):
    """A function that logs a row; does nothing without a folder."""
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

    writer = SummaryWriter(str(folder))
    try:
        yield lambda row: [
            writer.add_scalar(k, v, row["step"]) for k, v in row.items() if k != "step"
        ]
    finally:
        writer.close()
