"""Training batches as a pure function of (seed, step), so that training resumes exactly where it
stopped."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from moe_lib.text.masking import IGNORED, MaskingIds, mask_tokens
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

    Raises ValueError for bad arguments.
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
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size!r}; wants a whole number of at least 1")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}; wants a whole number of at least 0")
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
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"step: got {step!r}; wants a whole number of at least 0")
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
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size!r}; wants a whole number of at least 1")
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
        if (
            not isinstance(self.input_ids, Tensor)
            or self.input_ids.ndim != 2
            or len(self.input_ids) == 0
        ):
            raise ValueError(
                "packed_or_input_ids: wants a Packed or an int64 tensor (n, S), n at least 1"
            )
        if objective not in ("causal", "masked"):
            raise ValueError(f"objective: got {objective!r}; wants 'causal' or 'masked'")
        if objective == "masked" and tokenizer is None:
            raise ValueError("tokenizer: objective='masked' needs a tokenizer (or MaskingIds)")
        if attention_mask is not None and attention_mask.shape != self.input_ids.shape:
            wanted = tuple(self.input_ids.shape)
            raise ValueError(
                f"attention_mask: got shape {tuple(attention_mask.shape)}; wants {wanted}"
            )
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
