"""One run of a comparison: fine-tune, and measure what it did."""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.files import read_json, require_fields, write_json
from moe_lib.model import LanguageModel
from moe_lib.training import load_checkpoint
from moe_lib.tuning.comparison.cases import Case, TuningTask, measure_rows
from moe_lib.tuning.comparison.fingerprint import identity
from moe_lib.tuning.comparison.results import json_ready, thinned
from moe_lib.tuning.examples import Encoded, Examples
from moe_lib.tuning.impact import (
    MEGABYTE,
    activation_bytes,
    domain_losses,
    expert_choices,
    routing_change,
    state_bytes,
    trainable_parameters,
)
from moe_lib.tuning.saving import fingerprint
from moe_lib.tuning.stratified_draw import draw_examples, examples_of


class SideEffects:
    """Losses on the pretraining domains and choices of experts; those before fine-tuning once for
    each base."""

    def __init__(
        self,
        pretraining: Mapping[str, Iterable[dict]] | Callable[[LanguageModel], Mapping] | None,
        routing_text: Tensor | Mapping[str, Tensor] | None,
    ):
        self.pretraining = pretraining
        self.text = (
            {"input_ids": routing_text} if isinstance(routing_text, Tensor) else routing_text
        )
        self.before: dict[str, tuple] = {}  # by fingerprint: domains, their losses, choices

    def see(self, base: LanguageModel, weights: str) -> None:
        """The base before fine-tuning; `weights` is its fingerprint."""
        if weights not in self.before:
            domains = self.pretraining(base) if callable(self.pretraining) else self.pretraining
            wants = "at least one domain, with its batches"
            require(domains is None or len(domains) > 0, "pretraining", "no domains", wants)
            self.before[weights] = (domains, *self._measure(base, domains))

    def changes(self, base: LanguageModel, weights: str) -> dict:
        """The columns of a run, after it; none where nothing was asked for."""
        domains, losses, choices = self.before[weights]
        losses_now, choices_now = self._measure(base, domains)
        row = {}
        if losses:
            forgotten = {name: losses_now[name] - loss for name, loss in losses.items()}
            row["pretraining_loss_before"] = sum(losses.values()) / len(losses)
            row["forgetting"] = sum(forgotten.values()) / len(forgotten)
            row |= {f"forgetting_{name}": value for name, value in forgotten.items()}
        if choices is not None:
            row["routing_change"] = routing_change(choices, choices_now)
        return row

    def _measure(self, base: LanguageModel, domains) -> tuple[dict, list | None]:
        losses = {} if domains is None else domain_losses(base, domains)
        return losses, None if self.text is None else expert_choices(base, **self.text)


def run_case(
    case: Case,
    task: TuningTask,
    seed: int,
    effects: SideEffects,
    *,
    scratch: str | Path | None = None,
    device=None,
    report: Callable[[dict], bool | None] = lambda row: False,
):
    """One run -> (row, curve), from `scratch` if it is there; None if `report`, called at every
    step, stopped it."""
    base, head = _make(case, task, seed, device)
    drawn = (
        task.train if case.n_train is None else draw_examples(task.train, case.n_train, seed=seed)
    )
    trained = drawn if case.prepare is None else case.prepare(drawn, seed)
    weights = fingerprint(base)
    effects.see(base, weights)
    key = json_ready(
        {
            "case": case.name,
            **case.describe(),
            "seed": seed,
            "task": task.name,
            "base_weights": weights,
            "data": _digest(trained, task.test, task.validation),
            "batch_size": task.batch_size,
            "code": _code(case, task, effects),
        }
    )
    path = None if scratch is None else Path(scratch) / _file_name(case, task, seed)
    stored = {"key": None}
    if path is not None and path.is_file():
        stored = read_json(path)
        require_fields(path, stored, key=dict, row=dict, curve=(dict, list))
    if stored["key"] == key:
        row = {name: math.nan if value is None else value for name, value in stored["row"].items()}
        return row, pd.DataFrame(stored["curve"])
    run, times = _train(case, task, seed, head, trained, report)
    if run is None:
        return None
    row = {
        "case": case.name,
        "method": "full" if case.method is None else type(case.method).__name__,
        "n_train": examples_of(drawn),
        "seed": seed,
        **times,
        "steps": len(run.history),
        "best_step": math.nan if run.best_step is None else run.best_step,
        "trainable": trainable_parameters(run.model, run.attached),
        **_memory(run.model, trained, task.batch_size),
        **_quality(task, run.model, drawn, seed),
        **effects.changes(base, weights),
    }
    curve = run.history.drop(columns="seconds").assign(
        case=case.name, n_train=row["n_train"], seed=seed
    )
    if path is not None:
        write_json(
            path, json_ready({"key": key, "row": row, "curve": thinned(curve).to_dict("records")})
        )
    return row, curve


def _make(case: Case, task: TuningTask, seed: int, device) -> tuple[LanguageModel, nn.Module]:
    """Base and head. Random numbers come from the seed; those outside stay as they were."""
    cuda = device is not None and torch.device(device).type == "cuda"
    with torch.random.fork_rng([torch.cuda.current_device()] if cuda else []):
        torch.manual_seed(seed)
        base = (
            case.base().to(device) if callable(case.base) else load_checkpoint(case.base, device)[0]
        )
        torch.manual_seed(
            seed
        )  # again: heads start alike, whether or not making the base drew numbers
        return base, (case.make_head or task.make_head)(base)


def _train(case, task, seed, head, trained, report):
    """-> (FineTuned or None if stopped, times). `report` says whether to stop."""
    validation = {} if task.validation is None else {"validation": Examples(task.validation, 64)}
    batches = Examples(trained, task.batch_size, seed=seed)
    stopped = []

    def at_step(row: dict) -> bool:
        stopped.append(bool(report(row)))
        return stopped[-1]

    started, cpu = time.perf_counter(), time.process_time()
    run = case.fit(
        head,
        batches,
        method=case.method,
        seed=seed,
        callback=at_step,
        **{**validation, **case.settings},
    )
    seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    return (None if any(stopped) else run), seconds


def _quality(task: TuningTask, model: nn.Module, drawn: Encoded, seed: int) -> dict:
    """Test and train numbers; the gap is positive where the rows trained on come out better."""
    seen = draw_examples(
        drawn, min(examples_of(drawn), examples_of(task.test)), seed=seed
    )  # as many as in the test
    sides = {}
    for side, rows in (("train", seen), ("test", task.test)):
        numbers = dict(task.measure(model, rows))
        if "loss" not in numbers and "labels" in rows.rows[0]:
            numbers["loss"] = measure_rows(model, rows)["loss"]
        require(
            task.metric in numbers,
            "metric",
            task.metric,
            f"one of {', '.join(numbers)}, what the task measures",
        )
        sides[side] = numbers
    gap = sides["train"][task.metric] - sides["test"][task.metric]
    row = {
        f"{side}_{name}": float(value)
        for side, numbers in sides.items()
        for name, value in numbers.items()
    }
    row["gap"] = float(gap if task.higher_is_better else -gap)
    return row


def _memory(model: nn.Module, trained: Encoded, batch_size: int) -> dict:
    activations = activation_bytes(model, Examples(trained, batch_size).at(0))
    row = {
        "memory_mb": (state_bytes(model) + activations) / MEGABYTE,
        "activations_mb": activations / MEGABYTE,
    }
    if next(model.parameters()).is_cuda:
        row["cuda_peak_mb"] = torch.cuda.max_memory_allocated() / MEGABYTE
    return row


def _code(case: Case, task: TuningTask, effects: SideEffects) -> str:
    """Changes with the functions and objects that make a run of the weights and the data, by what
    they compute."""
    return identity(
        [
            case.method,
            case.settings,
            case.make_head or task.make_head,
            case.prepare,
            case.fit,
            task.measure,
            effects.pretraining,
            effects.text,
        ]
    )


def _digest(*parts: Encoded | None) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(None if part is None else part.rows).encode())
    return digest.hexdigest()[:16]


def _file_name(case: Case, task: TuningTask, seed: int) -> str:
    return re.sub(
        r"[^\w.-]+", "-", f"{task.name}_{case.name}_{case.n_train or 'all'}_seed{seed}.json"
    )
