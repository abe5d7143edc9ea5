"""RoutingMonitor: the balance of a model's experts at every step of a training that is not ours."""

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import TrainerCallback

from moe_lib.errors import require, require_takes
from moe_lib.model import load_entropy, max_violation
from moe_lib.modules import bare
from moe_lib.tracing.monitor.watched import Watched
from moe_lib.validation import Count, Natural, Share, checked

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ["step", "layer", "choices", "max_violation", "entropy", "dropped_share"]
_COLUMNS += ["dead_experts", "router_z", "drift"]
_PATIENCE = 3  # recorded steps in a row before a layer is called collapsed


class RoutingMonitor(TrainerCallback):
    """Records, at each optimiser step, how a model spreads its tokens over the experts.

        trainer = Trainer(…, callbacks=[RoutingMonitor(model)])        # transformers, trl

        with RoutingMonitor(model) as monitor:                         # any loop
            for batch in batches:
                model(**batch).loss.backward()
                optimiser.step()                                       # this ends a step
                optimiser.zero_grad()
        monitor.frame()

    model     a LanguageModel, or a Mixture-of-Experts model of transformers, also wrapped
    every     record each n-th step only; the others cost nothing but a look at a number
    log       who else gets the numbers: a SummaryWriter of TensorBoard, a run of wandb, or a
              function of ({"routing/layer_3/max_violation": …}, step)
    collapse  a layer is called collapsed, with one warning, where its entropy stays below this for
              three recorded steps

    A pass counts that is made for training: with gradients, or in training mode. Padding (0 in an
    attention_mask (batch, sequence)) is left out; parts of an accumulated step are added up; a pass
    that activation checkpointing repeats is counted once; with torch.distributed the loads of all
    processes are added up. Where no optimiser runs, `monitor.step()` ends a step.

    Raises TypeError or ValueError for a model without experts that this library knows.
    """

    @checked
    def __init__(
        self, model: nn.Module, *, every: Count = 1, log: Any = None, collapse: Share = 0.5
    ):
        self._check(model, log)
        self.every, self.collapse, self._model, self._log = every, collapse, model, _writer(log)
        self._rows: list[dict] = []
        self._records: list[tuple] = []  # (step, layer, load, kept, z), not yet made into rows
        self._loads: list[dict[int, Tensor]] = []
        self._first: dict[int, Tensor] = {}
        self._low: dict[int, int] = {}
        self._step, self._watched, self._hook = 0, None, None
        self._parameters: set[int] = set()

    @staticmethod
    def _check(model: nn.Module, log: Any) -> None:
        probe = Watched(model, lambda: False)
        probe.close()
        wants = "a model with experts that this library knows"
        require(len(probe.layers) > 0, "model", type(bare(model)).__name__, wants)
        known = log is None or callable(log) or hasattr(log, "add_scalar") or hasattr(log, "log")
        wants = "a SummaryWriter, a run of wandb, a function of (numbers, step), or None"
        require(known, "log", type(log).__name__, wants, TypeError)
        if not (hasattr(log, "add_scalar") or hasattr(log, "log")):
            require_takes("log", log, "numbers by name", "a step")

    # As a context manager

    def __enter__(self) -> "RoutingMonitor":
        self._start()
        self._parameters = {id(parameter) for parameter in self._model.parameters()}
        self._hook = register_optimizer_step_post_hook(self._after_optimiser)
        return self

    def __exit__(self, *error) -> None:
        self._stop()

    def _after_optimiser(self, optimiser, args, kwargs) -> None:
        groups = (parameter for group in optimiser.param_groups for parameter in group["params"])
        if any(id(parameter) in self._parameters for parameter in groups):
            self.step()

    # As a callback of transformers' Trainer

    def on_train_begin(self, args=None, state=None, control=None, **kwargs):
        self._step = getattr(state, "global_step", 0) or 0  # a training that goes on
        self._start()

    def on_step_end(self, args=None, state=None, control=None, **kwargs):
        self.step()

    def on_train_end(self, args=None, state=None, control=None, **kwargs):
        self._stop()

    # What it does

    def _start(self) -> None:
        require(self._watched is None, "monitor", "started twice", "one `with` or training a time")
        self._watched = Watched(self._model, self._counts)

    def _stop(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        if self._watched is not None:
            self._watched.close()
        self._hook = self._watched = None

    def _counts(self) -> bool:
        """Does the pass that is going on count?"""
        if self._step % self.every:
            return False
        if torch._C._current_graph_task_id() != -1:  # within backward: a pass made again
            return False
        return torch.is_grad_enabled() or self._model.training

    def step(self) -> None:
        """End a step: add up what came by since the last one. A step without a pass has no row."""
        require(self._watched is not None, "monitor", "not started", "to be used in a `with` block")
        loads = {}
        for layer, n_experts in zip(self._watched.layers, self._sizes(), strict=True):
            if n_experts == 0:  # no token came by, on any process
                continue
            load, kept, z = (_over_processes(part) for part in layer.take(n_experts))
            if load.any():
                loads[layer.index] = load
                self._records.append((self._step, layer.index, load, kept, z))
                self._warn(layer.index, load)
        if loads:
            self._loads.append(loads)
            self._send()
        self._step += 1

    def _sizes(self) -> list[int]:
        """Experts of each layer that was passed since the last step, here or on another process."""
        sizes = [0 if one.load is None else len(one.load) for one in self._watched.layers]
        if not _several_processes():
            return sizes
        every: list[list[int]] = [[]] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(every, sizes)
        return [max(layer) for layer in zip(*every, strict=True)]

    @property
    def rows(self) -> list[dict]:
        """The rows of `frame`. They are worked out when somebody looks: a step shall not wait."""
        self._rows += [self._row(*record) for record in self._records]
        self._records = []
        return self._rows

    def _row(self, step: int, index: int, load: Tensor, kept: Tensor, z: Tensor) -> dict:
        share = load / load.sum()
        first = self._first.setdefault(index, share)
        return {
            "step": step,
            "layer": index,
            "choices": int(load.sum()),
            "max_violation": max_violation(load),
            "entropy": load_entropy(load),
            "dropped_share": 1 - float(kept.sum() / load.sum()),
            "dead_experts": int((load == 0).sum()),
            "router_z": float(z[0] / z[1]) if z[1] else float("nan"),
            "drift": float((share - first).abs().sum() / 2),
        }

    def _warn(self, index: int, load: Tensor) -> None:
        counts = load.tolist()
        total, n = sum(counts), len(counts)
        if self._low.get(index, 0) >= _PATIENCE:  # said already
            return
        shares = [count / total for count in counts if count]
        entropy = -sum(p * math.log(p) for p in shares) / math.log(n) if n > 1 else 1.0
        low = entropy < self.collapse and total >= 4 * n
        self._low[index] = self._low.get(index, 0) + 1 if low else 0
        if self._low[index] == _PATIENCE:
            warnings.warn(
                f"layer {index} collapses: for {_PATIENCE} recorded steps its load has an entropy "
                f"below {self.collapse:g} (now {entropy:.2f}; 1 is even), and {counts.count(0)} "
                f"of {n} experts get nothing. A balance loss or a selection bias evens it out.",
                stacklevel=4,
            )

    def _send(self) -> None:
        if self._log is None:
            return
        step = self._step
        rows = [row for row in reversed(self.rows) if row["step"] == step]
        kinds = [name for name in rows[0] if name not in ("step", "layer")]
        self._log(
            {f"routing/layer_{r['layer']}/{kind}": r[kind] for r in rows for kind in kinds}, step
        )

    # What it knows

    def frame(self) -> "pd.DataFrame":
        """A row per recorded step and layer.

        step           from 0; layer: its number in the model
        choices        of all real tokens in the step, k each; dropped_share: of them, by a capacity
        max_violation  largest load / mean load − 1: 0 is even
        entropy        of the load, over log E: 1 is even, 0 is one expert alone
        dead_experts   experts that got nothing
        router_z       mean logsumexp(logits)² (ST-MoE, equation 5); NaN where no logits are shown
        drift          total variation between this load and the first one recorded, 0 to 1
        """
        import pandas as pd

        return pd.DataFrame(self.rows, columns=_COLUMNS)

    @checked
    def loads(self, layer: Natural) -> Tensor:
        """(recorded steps, E): how often each expert of a layer was chosen. ValueError for a layer
        that is not there."""
        known = sorted({index for loads in self._loads for index in loads})
        require(layer in known, "layer", layer, f"a layer with experts that was recorded: {known}")
        return torch.stack([loads[layer] for loads in self._loads if layer in loads])


def _writer(log: Any) -> Callable[[dict, int], None] | None:
    if log is None:
        return None
    if hasattr(log, "add_scalar"):  # TensorBoard
        return lambda numbers, step: [log.add_scalar(name, n, step) for name, n in numbers.items()]
    if hasattr(log, "log"):  # a run of wandb
        return lambda numbers, step: log.log(numbers, step=step)
    return log


def _several_processes() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized()


def _over_processes(sums: Tensor) -> Tensor:
    """The sum over all processes of torch.distributed, on the CPU."""
    if _several_processes():
        on_gpu = torch.distributed.get_backend() == "nccl"
        sums = sums.cuda() if on_gpu else sums.cpu().clone()
        torch.distributed.all_reduce(sums)
    return sums.cpu()
