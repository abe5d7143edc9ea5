"""In which order rows are read: a pure function of (seed, step), so that training resumes exactly
where it stopped."""

from dataclasses import dataclass

import numpy as np
import torch

from moe_lib.errors import require_whole

# Separate streams of random numbers for separate purposes.
SHUFFLE, MASK, EVALUATION = 0, 1, 2


def seeded_generator(*numbers: int) -> torch.Generator:
    """A CPU generator whose stream depends on all the numbers: (seed, purpose, step) and the
    like."""
    for place, number in enumerate(numbers):
        require_whole(f"numbers[{place}]", number, at_least=0)
    mixed = np.random.SeedSequence(numbers).generate_state(1, dtype=np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


@dataclass(frozen=True)
class ShuffledOrder:
    """Every epoch shuffles `n_rows` rows anew and uses each once; its last batch is smaller when
    they do not divide evenly. Nothing is remembered between calls. Raises ValueError or TypeError
    for a bad batch_size or seed."""

    n_rows: int
    batch_size: int
    seed: int

    def __post_init__(self):
        require_whole("n_rows", self.n_rows)
        require_whole("batch_size", self.batch_size)
        require_whole("seed", self.seed, at_least=0)

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.n_rows // self.batch_size)

    def at(self, step: int) -> torch.Tensor:
        """The rows of the batch of one step, counted from 0 over all epochs: (batch,) int64."""
        require_whole("step", step, at_least=0)
        epoch, position = divmod(step, len(self))
        order = torch.randperm(self.n_rows, generator=seeded_generator(self.seed, SHUFFLE, epoch))
        return order[position * self.batch_size : (position + 1) * self.batch_size]
