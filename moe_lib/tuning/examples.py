"""Encoded examples, and how they become batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.text.order import ShuffledOrder


@dataclass(frozen=True)
class Encoded:
    """Encoded examples, a dict each: what `collate` makes batches of.

    label_names   the classes, in the order of their numbers; empty for spans and multiple choice
    contexts      the passages, for spans: a row's "example" and "offsets" point into them
    n_cut         how many texts were longer than max_length and lost their end
    """

    rows: list[dict]
    pad_token_id: int
    label_names: tuple[str, ...] = ()
    contexts: tuple[str, ...] = field(default=(), repr=False)
    n_cut: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Sequence[int]) -> "Encoded":
        """The same with only these rows, in this order: 100 labels out of all, say."""
        rows = [self.rows[int(index)] for index in indices]
        return Encoded(rows, self.pad_token_id, self.label_names, self.contexts, self.n_cut)


class Examples:
    """Batches as a pure function of (seed, step), like moe_lib.text.Batches: `.at(step)` always
    gives the same one.

    Every epoch shuffles anew and uses each row once; its last batch is smaller when they do not
    divide evenly. A batch is padded on the right to its own longest row. Raises ValueError for no
    rows or a bad batch_size or seed.
    """

    def __init__(self, encoded: Encoded, batch_size: int, *, seed: int = 0):
        require(len(encoded) > 0, "encoded", "no rows", "at least one")
        self.encoded, self.batch_size, self.seed = encoded, batch_size, seed
        self.order = ShuffledOrder(len(encoded), batch_size, seed)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of one step, counted from 0 over all epochs."""
        return self._batch(self.order.at(step).tolist())

    def in_order(self) -> Iterator[dict[str, Tensor]]:
        """All rows once, unshuffled: for measuring."""
        for start in range(0, len(self.encoded), self.batch_size):
            yield self._batch(range(start, min(start + self.batch_size, len(self.encoded))))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.in_order()

    def _batch(self, indices) -> dict[str, Tensor]:
        return collate([self.encoded.rows[index] for index in indices], self.encoded.pad_token_id)


def collate(rows: list[dict], pad_token_id: int) -> dict[str, Tensor]:
    """Rows -> input_ids, attention_mask (batch, longest) int64, and labels, context_mask,
    choice_mask where rows have them. Choices: input_ids, attention_mask (batch, choices,
    longest)."""
    if "choices" in rows[0]:
        return _collate_choices(rows, pad_token_id)
    batch = {
        "input_ids": _pad([row["input_ids"] for row in rows], pad_token_id),
        "attention_mask": _pad([[1] * len(row["input_ids"]) for row in rows], 0),
    }
    if "context_mask" in rows[0]:
        batch["context_mask"] = _pad([row["context_mask"] for row in rows], 0)
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        batch["labels"] = (
            _pad(labels, IGNORED) if isinstance(labels[0], list) else torch.tensor(labels)
        )
    return batch


def _pad(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def _collate_choices(rows: list[dict], pad_token_id: int) -> dict[str, Tensor]:
    n_choices = max(len(row["choices"]) for row in rows)
    every = [
        choice
        for row in rows
        for choice in [*row["choices"], *[[]] * (n_choices - len(row["choices"]))]
    ]
    shape = (len(rows), n_choices, -1)
    batch = {
        "input_ids": _pad(every, pad_token_id).view(shape),
        "attention_mask": _pad([[1] * len(choice) for choice in every], 0).view(shape),
        "choice_mask": _pad([[1] * len(row["choices"]) for row in rows], 0),
    }
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        batch["labels"] = _pad(labels, 0) if isinstance(labels[0], list) else torch.tensor(labels)
    return batch
