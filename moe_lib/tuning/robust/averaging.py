"""Several trained heads as one: by the mean of what they say, or by the mean of their weights."""

from collections.abc import Iterable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.tuning.arguments import Rate, checked_batches
from moe_lib.tuning.predicting import Predictions, predict
from moe_lib.tuning.task_head import TaskHead
from moe_lib.validation import checked


@checked
def ensemble(heads: Sequence[TaskHead], batches: Iterable[dict]) -> Predictions:
    """The mean of the heads' probabilities, one vote each. It costs as many forward passes as there
    are heads.

    Raises ValueError for heads that do not predict equally many classes, TypeError for heads
    `predict` does not know.
    """
    require(len(heads) > 0, "heads", "none", "at least one")
    kinds = sorted({type(head).__name__ for head in heads})
    require(len(kinds) == 1, "heads", kinds, "heads of one class")
    batches = list(checked_batches(batches))
    said = [predict(head, batches) for head in heads]
    shapes = {tuple(one.probabilities.shape) for one in said}
    require(len(shapes) == 1, "heads", sorted(shapes), "probabilities of one shape")
    mean = torch.stack([one.probabilities for one in said]).mean(0)
    return Predictions(mean, mean.argmax(-1), said[0].targets)


@checked
@torch.no_grad()
def average_weights(heads: Sequence[TaskHead]) -> TaskHead:
    """A new head whose every number is the mean of theirs: a uniform soup (Wortsman et al. 2022).
    Runs once.

    It makes sense for heads that were fine-tuned from one base *and* one first head: models that
    were trained apart have their units and experts in another order, and the mean of two orders is
    neither. Raises ValueError for heads of different classes or shapes.
    """
    require(len(heads) > 0, "heads", "none", "at least one")
    first = heads[0]
    for number, head in enumerate(heads[1:], start=1):
        same = type(head) is type(first) and _shapes(head) == _shapes(first)
        wants = f"a {type(first).__name__} with the shapes of heads[0]"
        require(same, f"heads[{number}]", same or _difference(first, head), wants)
    soup = deepcopy(first)
    states = [head.state_dict() for head in heads]
    for name, tensor in soup.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.stack([state[name] for state in states]).mean(0))
    return soup.eval()


class MovingAverage:
    """The exponential moving average of a model's weights: average ← decay · average + (1 − decay)
    · weights.

    Give it to finetune as `callback`: it is updated after every step. `copy_to(model)` puts the
    average in. With decay 0.9 about the last 10 steps count. Buffers (a router's selection bias)
    are averaged as well. Raises ValueError for a decay outside 0 … 1.
    """

    @checked
    def __init__(self, model: nn.Module, decay: Rate = 0.9):
        self.model, self.decay = model, decay
        self.average: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, row: dict) -> None:
        for name, tensor in self.model.state_dict().items():
            if name not in self.average or not tensor.is_floating_point():
                self.average[name] = tensor.clone()
            else:
                self.average[name].lerp_(tensor, 1 - self.decay)

    @checked
    def copy_to(self, model: nn.Module) -> None:
        """Raises ValueError if nothing was averaged yet, and for a model of other shapes."""
        require(
            bool(self.average),
            "average",
            "no step yet",
            "at least one: callback=average in finetune",
        )
        wanted = {name: tensor.shape for name, tensor in self.average.items()}
        found = {name: tensor.shape for name, tensor in model.state_dict().items()}
        require(found == wanted, "model", "other weights", "those of the model that was averaged")
        model.load_state_dict(self.average)


def _shapes(head: TaskHead) -> dict[str, tuple]:
    return {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}


def _difference(first: TaskHead, other: TaskHead) -> str:
    """In words, for the message."""
    if type(other) is not type(first):
        return type(other).__name__
    ours, theirs = _shapes(first), _shapes(other)
    name = min(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return f"{name} of shape {theirs.get(name)}, not {ours.get(name)}"
