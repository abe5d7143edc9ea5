"""Which experts the same text chooses at several moments of a training: the raw material of
saturation (OLMoE)."""

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.files import read_tensors, write_tensors
from moe_lib.model_inputs import check_ids
from moe_lib.modules import eval_mode
from moe_lib.training.loop import StepReport
from moe_lib.validation import Natural, PathLike, checked, require_tensor


class RoutingRecord:
    """A callback for `train`: the experts that `input_ids` choose after each of `steps` optimiser
    steps.

        path = folder / "routing_over_training.safetensors"
        record = RoutingRecord(model, input_ids, steps=(0, 100, 200), path=path)
        train(model, batches, steps=200, callback=record)

    input_ids  (rows, sequence) int64
    steps      step 0 is the model before training, and is recorded at once
    path       the file that holds what there is: "steps" (n,) int64, "experts" (n, MoE layers,
               tokens, k) uint8, best first, tokens of all rows one after the other, and
               "input_ids". It is written at each recorded step, so that a training that is broken
               off and resumed goes on with it.

    Raises ValueError for a model without experts or with more than 256 of them.
    """

    @checked
    def __init__(
        self, model: nn.Module, input_ids: Tensor, steps: Collection[Natural], path: PathLike
    ):
        known, got = hasattr(model, "config"), type(model).__name__
        require(known, "model", got, "a moe_lib LanguageModel", TypeError)
        experts = model.config.n_routed_experts
        require(
            0 < experts <= 256,
            "model",
            f"{experts} routed experts",
            "1 to 256 of them: they are kept as bytes",
        )
        check_ids(input_ids, None, None, model.config)
        require(len(steps) > 0, "steps", steps, "at least one step to record")
        folder = Path(path).is_dir()
        require(not folder, "path", path, "a file to write, not a folder that is there")
        self.model, self.input_ids, self.steps, self.path = model, input_ids, set(steps), Path(path)
        if not self.path.is_file() and 0 in self.steps:
            self._record(0)

    def __call__(self, report: StepReport) -> None:
        done = report.row["step"] + 1
        if done in self.steps:
            self._record(done)

    @torch.no_grad()
    def _record(self, step: int) -> None:
        before = read_routing_record(self.path) if self.path.is_file() else None
        with eval_mode(self.model):
            output = self.model(self.input_ids.to(next(self.model.parameters()).device))
        now = (
            torch.stack([routing.experts for routing in output.routing if routing is not None])
            .to(torch.uint8)
            .cpu()
        )
        steps, experts = torch.tensor([step]), now[None]
        if before is not None:
            kept = before["steps"] < step  # a resumed run may pass a moment twice
            steps = torch.cat((before["steps"][kept], steps))
            experts = torch.cat((before["experts"][kept], experts))
        write_tensors(self.path, {"steps": steps, "experts": experts, "input_ids": self.input_ids})


@checked
def read_routing_record(path: PathLike) -> dict[str, Tensor]:
    """The tensors "steps", "experts" and "input_ids" of a file that a RoutingRecord wrote.

    Raises FileNotFoundError if there is none, ValueError if it is damaged or something else; both
    name the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wants a record of routing over training")
    tensors, _ = read_tensors(path)
    if set(tensors) != {"steps", "experts", "input_ids"}:
        raise ValueError(
            f'{path}: holds {sorted(tensors)}; wants "steps", "experts" and "input_ids"'
        )
    _check_record(path, tensors)
    return tensors


def _check_record(path: Path, tensors: dict[str, Tensor]) -> None:
    """ValueError naming file and field unless the tensors are of one record."""
    steps, ids = tensors["steps"], tensors["input_ids"]
    try:
        require_tensor("steps", steps, ("n",), "whole", low=0)
        require(
            bool((steps.diff() > 0).all()), "steps", steps.tolist(), "each larger than the last"
        )
        require_tensor("input_ids", ids, ("rows", "sequence"), "whole", low=0)
        shape = (len(steps), "layers", ids.numel(), "k")
        require_tensor("experts", tensors["experts"], shape, torch.uint8)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
