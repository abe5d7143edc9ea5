"""Encoded examples, and how they become batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moe_lib.errors import is_whole, require, require_texts, require_whole
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

    def __post_init__(self):
        require(isinstance(self.rows, list), "rows", self.rows, "a list of dicts", TypeError)
        for place, row in enumerate(self.rows):
            fits = isinstance(row, dict) and ("input_ids" in row or "choices" in row)
            require(fits, f"rows[{place}]", row, "a dict with input_ids or choices")
            for ids in [row["input_ids"]] if "input_ids" in row else row["choices"]:
                listed = hasattr(ids, "__len__") and not isinstance(ids, str | bytes | dict)
                require(listed, f"rows[{place}]", row, "lists of token ids", TypeError)
        require_whole("pad_token_id", self.pad_token_id, at_least=0)
        require_texts("label_names", self.label_names)
        require_texts("contexts", self.contexts)
        require_whole("n_cut", self.n_cut, at_least=0)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Sequence[int]) -> "Encoded":
        """The same with only these rows, in this order: 100 labels out of all, say."""
        listed = hasattr(indices, "__iter__") and not isinstance(indices, str | bytes | dict)
        require(listed, "indices", indices, "the numbers of rows", TypeError)
        rows, last = [], len(self.rows) - 1
        for place, index in enumerate(indices):
            fits = is_whole(index) and -len(self.rows) <= index <= last
            require(fits, f"indices[{place}]", index, f"the number of a row, 0 to {last}")
            rows.append(self.rows[int(index)])
        return Encoded(rows, self.pad_token_id, self.label_names, self.contexts, self.n_cut)


class Examples:
    """Batches as a pure function of (seed, step), like moe_lib.text.Batches: `.at(step)` always
    gives the same one.

    Every epoch shuffles anew and uses each row once; its last batch is smaller when they do not
    divide evenly. A batch is padded on the right to its own longest row. Raises ValueError for no
    rows or a bad batch_size or seed.
    """

    def __init__(self, encoded: Encoded, batch_size: int, *, seed: int = 0):
        require(isinstance(encoded, Encoded), "encoded", encoded, "an Encoded", TypeError)
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
    listed = isinstance(rows, list | tuple) and all(isinstance(row, dict) for row in rows)
    require(listed and len(rows) > 0, "rows", rows, "a list of encoded rows, at least one")
    require_whole("pad_token_id", pad_token_id, at_least=0)
    for place, row in enumerate(rows):
        wants = f"the fields of the first one: {', '.join(rows[0])}"
        require(row.keys() == rows[0].keys(), f"rows[{place}]", list(row), wants)
    require("input_ids" in rows[0] or "choices" in rows[0], "rows", list(rows[0]), "input_ids")
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
