"""Masked-language-model corruption as in BERT.

15% of the tokens are picked; 80% of these become the mask token, 10% a random token, and 10% stay.
Source: Devlin et al. 2019, and `create_pretraining_data.py` of the BERT repository.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.labels import IGNORED
from moe_lib.model_inputs import check_mask
from moe_lib.validation import Count, Natural, checked, number, require_tensor

Probability = Annotated[float, number(above=0, high=1)]


@checked
@dataclass(frozen=True)
class MaskingIds:
    """The three facts that masking needs about a tokenizer."""

    mask_token_id: Natural
    special_ids: tuple[Natural, ...]  # never picked, and never used as a random replacement
    vocab_size: Count

    @classmethod
    def of(cls, tokenizer, argument: str = "tokenizer") -> "MaskingIds":
        """Read them off a tokenizer; a MaskingIds is itself. Raises TypeError for something else,
        ValueError for a tokenizer without a mask token."""
        if isinstance(tokenizer, MaskingIds):
            return tokenizer
        wants = "a tokenizer or MaskingIds"
        require(hasattr(tokenizer, "mask_token_id"), argument, tokenizer, wants, TypeError)
        wants = "a tokenizer with a mask token"
        require(tokenizer.mask_token_id is not None, argument, "one without", wants)
        added = tokenizer.added_tokens_decoder.items()
        special = {number for number, token in added if token.special}
        special |= set(tokenizer.all_special_ids)
        return cls(tokenizer.mask_token_id, tuple(sorted(special)), len(tokenizer))


@checked
def mask_tokens(
    input_ids: Tensor,
    tokenizer_or_ids: Any,
    *,
    probability: Probability = 0.15,
    generator: torch.Generator,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Corrupt a batch for masked language modelling.

    input_ids (batch, sequence) int64; a tokenizer or MaskingIds. Random numbers are drawn on the
    generator's device and moved, so a CPU generator gives the same masks on every device.

    Returns (corrupted, labels), both shaped like `input_ids`. A label is the original token where a
    token was picked and -100 elsewhere. Special tokens and padding (`attention_mask` 0) are never
    picked; replacements are ordinary tokens. At least one token is picked if the batch has any
    ordinary token: the one with the smallest random number, the first to be picked anyway.

    Raises ValueError or TypeError naming the argument that does not fit.
    """
    ids = MaskingIds.of(tokenizer_or_ids, "tokenizer_or_ids")
    limit = ids.vocab_size - 1
    require_tensor("input_ids", input_ids, dtype=torch.int64, low=0, high=limit)
    if attention_mask is not None:
        check_mask(attention_mask, input_ids.shape)
    if input_ids.numel() == 0:
        return input_ids.clone(), input_ids.clone()
    for special in (ids.mask_token_id, *ids.special_ids):
        got, wants = f"the special id {special}", f"ids from 0 to {limit}"
        require(0 <= special <= limit, "tokenizer_or_ids", got, wants)
    shape, device = input_ids.shape, input_ids.device
    is_special = torch.zeros(ids.vocab_size, dtype=torch.bool, device=device)
    is_special[list(ids.special_ids)] = True
    allowed = ~is_special[input_ids]
    if attention_mask is not None:
        allowed &= attention_mask.bool()

    pick_draw = _uniform(shape, generator, device)
    pick_draw = pick_draw.masked_fill(~allowed, 2.0)  # 2 is above any probability
    picked = pick_draw < probability
    smallest = pick_draw.argmin()
    picked.view(-1)[smallest] = allowed.reshape(-1)[smallest]
    labels = input_ids.masked_fill(~picked, IGNORED)

    ordinary = (~is_special).nonzero().squeeze(1)
    which = _uniform(shape, generator, device)
    random_tokens = ordinary[(_uniform(shape, generator, device) * len(ordinary)).long()]
    corrupted = torch.where(picked & (which < 0.8), ids.mask_token_id, input_ids)
    corrupted = torch.where(picked & (which >= 0.8) & (which < 0.9), random_tokens, corrupted)
    return corrupted, labels


def _uniform(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    how = dict(generator=generator, device=generator.device, dtype=torch.float64)
    return torch.rand(shape, **how).to(device)
