"""`train` in several processes: the same loop, a step that all ranks take together.

Each rank gets the whole batch and takes its rows; losses count as in one process, gradients are
added up, and so are loads, before biases move. Callbacks and the history are the same on all.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.labels import count_in_batch
from moe_lib.modules import bare
from moe_lib.parallel.collectives import any_rank, total
from moe_lib.parallel.experts import own_experts
from moe_lib.parallel.gradients import add_gradients, clip_gradients
from moe_lib.parallel.guard import guard
from moe_lib.parallel.ranks import here, join
from moe_lib.parallel.tensors import is_sharded
from moe_lib.parallel.whole_batch import balance_over_all, needs_all_tokens, own_rows
from moe_lib.training.counts import RoutingCounts
from moe_lib.training.step import OptimiserStep, StepResult


def together(function: Callable) -> Callable:
    """A training that joins the other processes, if it was started as one of several, and stops
    with them when one stops (RankLost)."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        join()
        if not here().first:
            kwargs["progress"] = False
        folder = kwargs.get("folder")
        with guard(f"the same call goes on from the state in {folder}" if folder else ""):
            return function(*args, **kwargs)

    return wrapper


def step_for_all(*arguments) -> OptimiserStep:
    """OptimiserStep(*arguments), or, where several processes have joined, the same taken
    together."""
    return (StepTogether if here().several else OptimiserStep)(*arguments)


def stops_anywhere(stopped: bool) -> bool:
    """Does any rank stop? Then all do, after the same step."""
    return any_rank(stopped)


class StepTogether(OptimiserStep):
    """An optimiser step of several ranks: equal to that of one process up to rounding.

    A capacity limit counts the tokens of each rank by itself, as GShard's groups do; so does a
    router that looks at the tokens beside a token. What is drawn by lot is drawn anew on each rank.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        plain = bare(self.model)
        _start_alike(plain)
        spread = {id(p) for p in plain.parameters() if is_sharded(p)}
        # one update runs over tensors of one kind
        self.optimiser.param_groups[:] = [
            {**group, "params": kind}
            for group in self.optimiser.param_groups
            for kind in _apart(group["params"], spread)
        ]

    def clip_gradients(self, trained: list, largest: float) -> Tensor:
        return clip_gradients(self._plain, largest)

    def __call__(self, batch: dict[str, Tensor], step: int) -> StepResult:
        ranks, self._rows = here(), len(batch["input_ids"])
        most = max(1, self._rows // ranks.size)
        wants = f"at most the rows of a batch that each rank takes ({most})"
        require(step > 0 or self.accumulation <= most, "accumulation", self.accumulation, wants)
        own, self._counts = own_rows(batch)
        wanted, self.accumulation = self.accumulation, min(self.accumulation, most)
        device = next(self.model.parameters()).device
        seed = int(torch.randint(2**62, ())) + ranks.rank
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(seed)
                return super().__call__(own, step)
        finally:
            self.accumulation = wanted

    def _accumulate(self, batch: dict[str, Tensor], rows: int) -> tuple:
        own, device = count_in_batch(self._plain, batch) * self._counts, batch["input_ids"].device
        examples = total(torch.tensor(float(own), device=device))
        self._share, self._own = own / examples.clamp(min=1.0), rows
        loss, balance_loss, _, counts = super()._accumulate(batch, rows)
        if not needs_all_tokens(self._plain.config):  # else it is the same on all ranks
            balance_loss = total(torch.as_tensor(balance_loss, device=device))
        return total(loss), balance_loss, int(examples), self._add(counts)

    def _forward(self, model: nn.Module, part: dict[str, Tensor], count: int) -> tuple:
        """loss and output of a part, scaled so that the ranks' sum is that of one process."""
        if count:
            loss, output = super()._forward(model, part, count)
        else:  # no label here; but in a backward pass no rank may be missing
            output = model(**{name: tensor for name, tensor in part.items() if name != "labels"})
            loss = 0.0 * output.logits.float().sum()
        loss = loss * self._share
        balance = self._balance_loss(output, part)
        if any_rank(not bool(torch.isfinite(loss + balance))):  # all stop, or none
            loss = loss * torch.nan
        return loss, replace(output, balance_loss=balance)

    def _balance_loss(self, output, part: dict[str, Tensor]) -> Tensor:
        """Over the tokens of all ranks. It will be weighed by the part's share of the own rows."""
        config, rows = self._plain.config, len(part["input_ids"]) * int(self._counts)
        if not needs_all_tokens(config):
            return output.balance_loss * (self._counts * self._own / self._rows)
        device, mask = part["input_ids"].device, part.get("attention_mask")
        mask = None if mask is None else mask.flatten()
        loss = balance_over_all(output.routing, config, rows, mask).to(device)
        share = total(torch.tensor(float(rows), device=device)) / self._rows
        return loss * (share * self._own / len(part["input_ids"]))

    def _add(self, counts: RoutingCounts) -> RoutingCounts:
        """The counts of all ranks."""
        weight = int(self._counts)
        counts.loads = [total(weight * load) for load in counts.loads]
        both = total(weight * torch.tensor([counts._choices, counts._kept]))
        counts._choices, counts._kept = both.tolist()
        return counts

    def _update(self, step: int) -> float:
        add_gradients(self._plain)
        return super()._update(step)


def _start_alike(model: nn.Module) -> None:
    """Rank 0's weights and buffers on every rank; parts of experts, and of FSDP, stay."""
    experts = own_experts(model)
    named = (*model.named_parameters(), *model.named_buffers())
    for name, tensor in named:
        if name not in experts and not is_sharded(tensor):
            dist.broadcast(tensor.data, 0)


def _apart(parameters: list, spread: set[int]) -> list[list]:
    """Those that FSDP has spread, and the others; no empty list."""
    kinds = [[p for p in parameters if (id(p) in spread) == wanted] for wanted in (True, False)]
    return [kind for kind in kinds if kind]
