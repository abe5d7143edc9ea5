"""Training batches as a pure function of (seed, step), so that training resumes exactly where it
stopped."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.text.masking import (
    IGNORED,
    MaskingIds,
    check_mask,
    check_probability,
    mask_tokens,
)
from moe_lib.text.packing import Packed

# Separate streams of random numbers for separate purposes.
_SHUFFLE, _MASK, _EVALUATION = 0, 1, 2


class Batches:
    """Shuffled batches of rows, with labels.

    packed_or_input_ids   a Packed, or input_ids (n, S) int64
    objective             "causal": labels are the input ids themselves (the model shifts them, as
                          Hugging Face models do); "masked": mask_tokens with a new draw at every
                          step
    tokenizer             a tokenizer or MaskingIds; needed for "masked"
    attention_mask        (n, S), 0 on padding, for rows from pad_batch; padding gets the label -100
    device                where the batches go; by default where the rows are

    Every epoch shuffles anew and uses every row once; its last batch is smaller when the rows do
    not divide evenly. Nothing is remembered between calls: `.at(step)` always gives the same batch
    for the same seed.

    Raises ValueError or TypeError for bad arguments.
    """

    def __init__(
        self,
        packed_or_input_ids: Packed | Tensor,
        batch_size: int,
        *,
        seed: int = 0,
        objective: str = "causal",
        tokenizer=None,
        mask_probability: float = 0.15,
        attention_mask: Tensor | None = None,
        device: torch.device | str | None = None,
    ):
        require_whole("batch_size", batch_size)
        require_whole("seed", seed, at_least=0)
        self.rows = _Rows(
            packed_or_input_ids, objective, tokenizer, mask_probability, attention_mask, device
        )
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.rows) // self.batch_size)

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of one step, counted from 0 over all epochs: input_ids and labels (batch, S)
        int64, and attention_mask if some row is padded."""
        require_whole("step", step, at_least=0)
        epoch, position = divmod(step, len(self))
        order = torch.randperm(
            len(self.rows), generator=seeded_generator(self.seed, _SHUFFLE, epoch)
        )
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
        return self.rows.batch(chosen, seeded_generator(self.seed, _MASK, step))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of epoch 0, in order."""
        return (self.at(step) for step in range(len(self)))


def evaluation_batches(
    packed_or_input_ids: Packed | Tensor,
    batch_size: int,
    *,
    seed: int = 0,
    objective: str = "causal",
    tokenizer=None,
    mask_probability: float = 0.15,
    attention_mask: Tensor | None = None,
    device: torch.device | str | None = None,
) -> list[dict[str, Tensor]]:
    """All rows once, in order, with the same masks every time. Arguments as for Batches.

    The masks of row r depend on (seed, r) only: neither the batch size nor further rows change
    them.

    Batches may hold different numbers of labels: add up losses over labels, then divide by their
    number.
    """
    require_whole("batch_size", batch_size)
    require_whole("seed", seed, at_least=0)
    rows = _Rows(
        packed_or_input_ids, objective, tokenizer, mask_probability, attention_mask, device
    )
    single = [
        rows.batch(torch.tensor([row]), seeded_generator(seed, _EVALUATION, row))
        for row in range(len(rows))
    ]
    return [
        {
            name: torch.cat([row[name] for row in single[start : start + batch_size]])
            for name in single[start]
        }
        for start in range(0, len(single), batch_size)
    ]


def seeded_generator(*numbers: int) -> torch.Generator:
    """A CPU generator whose stream depends on all the numbers: (seed, purpose, step) and the
    like."""
    mixed = np.random.SeedSequence(numbers).generate_state(1, dtype=np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


class _Rows:
    """Rows of token ids, and how a choice of them becomes a batch."""

    def __init__(
        self, packed_or_input_ids, objective, tokenizer, mask_probability, attention_mask, device
    ):
        packed = isinstance(packed_or_input_ids, Packed)
        self.input_ids = packed_or_input_ids.input_ids if packed else packed_or_input_ids
        name, wants = "packed_or_input_ids", "a Packed or an int64 tensor (n, S), n at least 1"
        is_tensor = isinstance(self.input_ids, Tensor)
        require(is_tensor, name, self.input_ids, wants, TypeError)
        shape = tuple(self.input_ids.shape)
        require(self.input_ids.ndim == 2 and self.input_ids.numel() > 0, name, shape, wants)
        require(self.input_ids.dtype == torch.int64, name, self.input_ids.dtype, wants, TypeError)
        known = isinstance(objective, str) and objective in ("causal", "masked")
        require(known, "objective", objective, "'causal' or 'masked'")
        needed = objective != "masked" or tokenizer is not None
        require(needed, "tokenizer", tokenizer, "a tokenizer (or MaskingIds) for 'masked'")
        check_mask(attention_mask, self.input_ids)
        check_probability("mask_probability", mask_probability)
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # nothing is padded
        self.attention_mask = attention_mask
        self.mask_probability = mask_probability
        self.device = device
        self.masking_ids = None
        if objective == "masked":
            self.masking_ids = (
                tokenizer if isinstance(tokenizer, MaskingIds) else MaskingIds.of(tokenizer)
            )

    def __len__(self) -> int:
        return len(self.input_ids)

    def batch(self, chosen: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = chosen.to(self.input_ids.device)
        input_ids = self.input_ids[chosen]
        mask = None if self.attention_mask is None else self.attention_mask[chosen]
        if self.masking_ids is not None:
            input_ids, labels = mask_tokens(
                input_ids,
                self.masking_ids,
                probability=self.mask_probability,
                generator=generator,
                attention_mask=mask,
            )
        else:
            labels = (
                input_ids.clone() if mask is None else input_ids.masked_fill(mask == 0, IGNORED)
            )
        batch = {"input_ids": input_ids, "labels": labels}
        if mask is not None:
            batch["attention_mask"] = mask
        return (
            batch
            if self.device is None
            else {name: part.to(self.device) for name, part in batch.items()}
        )
