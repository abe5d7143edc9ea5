"""Training batches as a pure function of (seed, step), so that training resumes exactly where it
stopped."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from moe_lib.devices import usable_device
from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.model_inputs import check_mask, require_real
from moe_lib.text.masking import MaskingIds, Probability, mask_tokens
from moe_lib.text.order import EVALUATION, MASK, ShuffledOrder, seeded_generator
from moe_lib.text.packing import Packed
from moe_lib.validation import Choice, Count, Seed, checked, require_tensor


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
    for the same seed. Raises ValueError or TypeError for bad arguments.
    """

    @checked
    def __init__(
        self,
        packed_or_input_ids: Packed | Tensor,
        batch_size: Count,
        *,
        seed: Seed = 0,
        objective: Choice("causal", "masked") = "causal",
        tokenizer: Any = None,
        mask_probability: Probability = 0.15,
        attention_mask: Tensor | None = None,
        device: Any = None,
    ):
        packed = isinstance(packed_or_input_ids, Packed)
        self.input_ids = packed_or_input_ids.input_ids if packed else packed_or_input_ids  # (n, S)
        require_tensor("packed_or_input_ids", self.input_ids, ("n", "S"), torch.int64, low=0)
        shape, wants = tuple(self.input_ids.shape), "a Packed or a tensor (n, S), neither of them 0"
        require(0 not in shape, "packed_or_input_ids", shape, wants)
        if attention_mask is not None:
            check_mask(attention_mask, shape)
            require_real(attention_mask)
        padded = attention_mask is not None and not bool(attention_mask.all())
        self.attention_mask = attention_mask if padded else None
        self.objective = objective
        self.masking_ids = MaskingIds.of(tokenizer) if objective == "masked" else None
        self.mask_probability, self.device = mask_probability, usable_device(device)
        self.order = ShuffledOrder(len(self.input_ids), batch_size, seed)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of one step, counted from 0 over all epochs: input_ids and labels (batch, S)
        int64, and attention_mask if some row is padded."""
        return self.rows(self.order.at(step), seeded_generator(self.order.seed, MASK, step))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of epoch 0, in order."""
        return (self.at(step) for step in range(len(self)))

    def rows(self, chosen: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The batch of these rows (batch,), with masks from `generator`."""
        chosen = chosen.to(self.input_ids.device)
        input_ids = self.input_ids[chosen]  # (batch, S)
        mask = None if self.attention_mask is None else self.attention_mask[chosen]  # (batch, S)
        if self.masking_ids is not None:
            how = dict(probability=self.mask_probability, generator=generator, attention_mask=mask)
            input_ids, labels = mask_tokens(input_ids, self.masking_ids, **how)
        else:
            labels = input_ids.clone()
            if mask is not None:
                labels[mask == 0] = IGNORED
        batch = {"input_ids": input_ids, "labels": labels}
        if mask is not None:
            batch["attention_mask"] = mask
        return {name: part.to(device=self.device) for name, part in batch.items()}  # None: as it is


def evaluation_batches(
    packed_or_input_ids: Packed | Tensor, batch_size: int, *, seed: int = 0, **options
) -> list[dict[str, Tensor]]:
    """All rows once, in order, with the same masks every time. Arguments and options as for
    `Batches`: objective, tokenizer, mask_probability, attention_mask, device.

    The masks of row r depend on (seed, r) only, not on the batch size or on further rows. Batches
    may hold different numbers of labels: add up losses over labels, then divide by their number.
    """
    source = Batches(packed_or_input_ids, batch_size, seed=seed, **options)
    places = range(len(source.input_ids))
    drawn = (seeded_generator(seed, EVALUATION, row) for row in places)
    single = [source.rows(torch.tensor([row]), next(drawn)) for row in places]
    groups = [single[start : start + batch_size] for start in places[::batch_size]]
    return [{name: torch.cat([row[name] for row in few]) for name in few[0]} for few in groups]
