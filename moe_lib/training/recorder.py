"""What a run's balance is judged by, step by step: a plain callback for `train`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model import load_entropy, max_violation
from moe_lib.training.cure_settings import cure_words
from moe_lib.training.loop import StepReport
from moe_lib.validation import Count, Natural, checked


class BalanceRecorder:
    """Keeps the load of every expert at every step, and the rows of the history.

        recorder = BalanceRecorder("no cure")
        train(model, batches, steps=100, callback=recorder)
        balance_figure(recorder)                            # moe_lib.views.balance_dashboard.figure

    name           what the run is called in pictures and words
    layer_numbers  the model's numbers of its MoE layers; by default 0, 1, …
    steps          how many steps the run is meant to have; None if that is not known

    rows           a dict per step, as `train` records it (loss in nats per token, without balance
                   losses)
    cures          (step, words) at the beginning and wherever another cure begins; empty if the
                   rows do not tell their settings, as those of a LiveTraining do
    max_violation  a list of one number per MoE layer, for every step; entropy the same (1 is even,
                   0 one expert)
    One thread may record while another one reads: what is read is whole steps.
    """

    @checked
    def __init__(
        self,
        name: str = "run",
        layer_numbers: Sequence[Natural] | None = None,
        steps: Count | None = None,
    ):
        self.name, self.steps = name, steps
        self.rows: list[dict] = []
        self.cures: list[tuple[int, str]] = []
        self.max_violation: list[list[float]] = []
        self.entropy: list[list[float]] = []
        self._loads: list[Tensor] = []
        self._layer_numbers = None if layer_numbers is None else list(layer_numbers)

    def __call__(self, report: StepReport) -> None:
        """Record one step. ValueError if the model has no MoE layer, or not those of the step
        before."""
        known = hasattr(report, "loads") and hasattr(report, "row")
        require(known, "report", type(report).__name__, "a StepReport", TypeError)
        require(
            len(report.loads) > 0,
            "report.loads",
            "no load",
            "one per MoE layer: a dense model has no balance",
        )
        sizes = [len(load) for load in report.loads]
        require(
            len(set(sizes)) == 1,
            "report.loads",
            f"{sizes} experts",
            "as many experts in every layer",
        )
        loads = torch.stack([load.cpu() for load in report.loads])
        before = self._loads[-1].shape if self._loads else loads.shape
        require(
            loads.shape == before,
            "report.loads",
            tuple(loads.shape),
            f"{tuple(before)}, as in the steps before",
        )
        self._loads.append(loads)
        self.max_violation.append([max_violation(load) for load in loads])
        self.entropy.append([load_entropy(load) for load in loads])
        if "aux_loss_alpha" in report.row:
            words = cure_words(report.row)
            if not self.cures or self.cures[-1][1] != words:
                self.cures.append((report.row["step"], words))
        self.rows.append(dict(report.row))  # last: a reader counts the rows

    @property
    def n_steps(self) -> int:
        """Steps recorded so far."""
        return len(self.rows)

    @property
    def n_experts(self) -> int:
        return self._loads[0].shape[1] if self._loads else 0

    @property
    def k(self) -> int:
        """Choices per token, counted in the first step."""
        return (
            max(1, round(int(self._loads[0][0].sum()) / self.rows[0].get("tokens", 1)))
            if self.rows
            else 1
        )

    @property
    def layer_numbers(self) -> list[int]:
        if self._layer_numbers is not None:
            return self._layer_numbers
        return list(range(len(self._loads[0]))) if self._loads else []

    def loads(self, start: int = 0) -> Tensor:
        """(steps, layers, E) int64: how often each expert was chosen, from step `start` on."""
        recorded = self._loads[start : self.n_steps]
        return (
            torch.stack(recorded)
            if recorded
            else torch.zeros(0, len(self.layer_numbers), self.n_experts)
        )

    def shares(self, start: int = 0) -> Tensor:
        """(steps, layers, E) float64: load / even share. 1 is even, 0 is an expert that nobody
        chose."""
        loads = self.loads(start).double()
        return loads * self.n_experts / loads.sum(-1, keepdim=True).clamp(min=1)

    def column(self, name: str, default: float | None = None) -> list:
        """One entry of the rows at every step, such as "loss"; `default` where a row has none."""
        return [row.get(name, default) for row in self.rows]
