"""Several tasks in one training, as batches that `finetune` takes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.text.order import seeded_generator
from moe_lib.tuning.examples import Encoded, Examples
from moe_lib.validation import Count, Name, Positive, Seed, checked

_ROUND = 3  # the purpose of a stream of random numbers, beside those of moe_lib.text.batching
BATCHES_PER_ROUND = 32


class TaskMixture:
    """Batches of several tasks, each batch of one task, as a pure function of (seed, step).

    tasks         name -> Encoded
    batch_size    rows, for all tasks or name -> rows: tasks with long rows want smaller ones
    weights       name -> how often, in any unit. None: by the number of rows n of a task,
                  n^(1/temperature)
    temperature   1 proportional to the rows; larger is more even (Raffel et al. 2020, section
                  3.5.2; Arivazhagan et al. 2019)

    Of every 32 batches each task gets its exact share, rounded by largest remainder and at least
    one, in an order drawn from the seed. A task's own rows are shuffled anew when all have been
    used, as in `Examples`. Batches are not mixed inside: a summary of 160 tokens would pad a
    translation of 28 to as many.

    Raises ValueError or TypeError for no tasks, a weight that is not positive or lacks its task,
    weights and a temperature together, or more tasks than batches in a round.
    """

    @checked
    def __init__(
        self,
        tasks: Mapping[Name, Encoded],
        batch_size: Count | Mapping[Name, Count],
        *,
        weights: Mapping[Name, Positive] | None = None,
        temperature: Positive = 1.0,
        seed: Seed = 0,
    ):
        _check(tasks, batch_size, weights, temperature)
        sizes = batch_size if isinstance(batch_size, Mapping) else dict.fromkeys(tasks, batch_size)
        self.seed = seed
        self.tasks = {
            name: Examples(encoded, sizes[name], seed=seed) for name, encoded in tasks.items()
        }
        if weights is None:
            weights = {name: len(encoded) ** (1 / temperature) for name, encoded in tasks.items()}
        total = sum(weights.values())
        self.shares = {name: weights[name] / total for name in tasks}
        self.counts = _largest_remainder(self.shares, BATCHES_PER_ROUND)

    def task_of(self, step: int) -> str:
        """The task whose batch `.at(step)` gives."""
        return self._place(step)[0]

    def at(self, step: int) -> dict[str, Tensor]:
        """input_ids, attention_mask, labels (batch, longest) of one step, counted from 0."""
        name, step_of_task = self._place(step)
        return self.tasks[name].at(step_of_task)

    def _place(self, step: int) -> tuple[str, int]:
        """The task of this step, and how many of its batches came before."""
        require_whole("step", step, at_least=0)
        round_, position = divmod(step, BATCHES_PER_ROUND)
        names = [name for name, count in self.counts.items() for _ in range(count)]
        generator = seeded_generator(self.seed, _ROUND, round_)
        order = [
            names[place]
            for place in torch.randperm(BATCHES_PER_ROUND, generator=generator).tolist()
        ]
        name = order[position]
        return name, round_ * self.counts[name] + order[:position].count(name)


def _largest_remainder(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers, at least 1 each, that sum to `total` and are as near to the shares as they can
    be."""
    counts = {name: max(1, int(share * total)) for name, share in shares.items()}
    while sum(counts.values()) != total:
        step = 1 if sum(counts.values()) < total else -1
        movable = [name for name in counts if step == 1 or counts[name] > 1]
        name = max(movable, key=lambda name: step * (shares[name] * total - counts[name]))
        counts[name] += step
    return counts


def _check(tasks, batch_size, weights, temperature):
    require(
        isinstance(tasks, Mapping) and len(tasks) > 0,
        "tasks",
        tasks,
        "name -> Encoded, at least one",
        TypeError,
    )
    require(
        len(tasks) <= BATCHES_PER_ROUND,
        "tasks",
        f"{len(tasks)} tasks",
        f"at most {BATCHES_PER_ROUND}",
    )
    require(
        weights is None or temperature == 1.0,
        "temperature",
        temperature,
        "1 with weights: they say it all",
    )
    for argument, given in (("weights", weights), ("batch_size", batch_size)):
        if isinstance(given, Mapping):
            require(set(given) == set(tasks), argument, sorted(given), f"the tasks {sorted(tasks)}")
