"""Training batches as a pure function of (seed, step), so that training resumes exactly where it
stopped."""

from collections.abc import Iterator

import torch
from torch import Tensor

from moe_lib.devices import usable_device
from moe_lib.errors import require, require_number, require_whole
from moe_lib.labels import IGNORED
from moe_lib.model_inputs import check_mask
from moe_lib.text.masking import MaskingIds, mask_tokens
from moe_lib.text.order import EVALUATION, MASK, ShuffledOrder, seeded_generator
from moe_lib.text.packing import Packed


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
        self.rows = _Rows(
            packed_or_input_ids, objective, tokenizer, mask_probability, attention_mask, device
        )
        self.order = ShuffledOrder(len(self.rows), batch_size, seed)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of one step, counted from 0 over all epochs: input_ids and labels (batch, S)
        int64, and attention_mask if some row is padded."""
        return self.rows.batch(self.order.at(step), seeded_generator(self.order.seed, MASK, step))

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
        rows.batch(torch.tensor([row]), seeded_generator(seed, EVALUATION, row))
        for row in range(len(rows))
    ]
    return [
        {
            name: torch.cat([row[name] for row in single[start : start + batch_size]])
            for name in single[start]
        }
        for start in range(0, len(single), batch_size)
    ]


class _Rows:
    """Rows of token ids, and how a choice of them becomes a batch."""

    def __init__(
        self, packed_or_input_ids, objective, tokenizer, mask_probability, attention_mask, device
    ):
        packed = isinstance(packed_or_input_ids, Packed)
        self.input_ids = packed_or_input_ids.input_ids if packed else packed_or_input_ids
        wants = "a Packed or an int64 tensor (n, S), n at least 1"
        got = getattr(self.input_ids, "dtype", type(self.input_ids).__name__)
        whole = isinstance(self.input_ids, Tensor) and self.input_ids.dtype == torch.int64
        require(whole, "packed_or_input_ids", got, wants)
        shape = tuple(self.input_ids.shape)
        require(len(shape) == 2 and 0 not in shape, "packed_or_input_ids", shape, wants)
        require(objective in ("causal", "masked"), "objective", objective, "'causal' or 'masked'")
        require_number("mask_probability", mask_probability, above=0, at_most=1)
        if objective == "masked":
            require(tokenizer is not None, "tokenizer", None, "a tokenizer or MaskingIds")
        if attention_mask is not None:
            check_mask(attention_mask, shape)
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # nothing is padded
        self.attention_mask = attention_mask
        self.mask_probability = mask_probability
        self.device = usable_device(device)
        self.masking_ids = None
        if objective == "masked":
            self.masking_ids = MaskingIds.of(tokenizer)

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
