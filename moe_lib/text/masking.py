"""Masked-language-model corruption as in BERT.

15% of the tokens are picked; 80% of these become the mask token, 10% a random token, and 10% stay.

Source: Devlin et al. 2019, and `create_pretraining_data.py` of the BERT repository.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import is_number, require, require_whole

IGNORED = -100  # the label that torch.nn.functional.cross_entropy skips


@dataclass(frozen=True)
class MaskingIds:
    """The three facts that masking needs about a tokenizer."""

    mask_token_id: int
    special_ids: tuple[int, ...]  # never picked, and never used as a random replacement
    vocab_size: int

    def __post_init__(self):
        require_whole("vocab_size", self.vocab_size)
        for name in ("mask_token_id", "special_ids"):
            ids = getattr(self, name)
            for one in ids if name == "special_ids" else (ids,):
                require_whole(name, one, at_least=0)
                wants = f"ids of the vocabulary, 0 to {self.vocab_size - 1}"
                require(one < self.vocab_size, name, one, wants)

    @classmethod
    def of(cls, tokenizer) -> "MaskingIds":
        """Read them off a Hugging Face tokenizer. Raises ValueError if it has no mask token."""
        wants = "a tokenizer or MaskingIds"
        known = hasattr(tokenizer, "mask_token_id") and hasattr(tokenizer, "added_tokens_decoder")
        require(known, "tokenizer", tokenizer, wants, TypeError)
        if tokenizer.mask_token_id is None:
            raise ValueError("tokenizer: has no mask token, which masking needs")
        added = {
            number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        special = added | set(tokenizer.all_special_ids)
        return cls(tokenizer.mask_token_id, tuple(sorted(special)), len(tokenizer))


def mask_tokens(
    input_ids: Tensor,
    tokenizer_or_ids,
    *,
    probability: float = 0.15,
    generator: torch.Generator,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Corrupt a batch for masked language modelling.

    input_ids (batch, sequence) int64. `tokenizer_or_ids` is a tokenizer or a MaskingIds. Random
    numbers are drawn on the generator's device and moved, so a CPU generator gives the same masks
    on every device.

    Returns (corrupted, labels), both shaped like `input_ids`. A label is the original token where a
    token was picked and -100 elsewhere. Special tokens and padding (`attention_mask` 0) are never
    picked; replacements are ordinary tokens. At least one token is picked if the batch has any
    ordinary token: the one with the smallest random number, which would be the first to be picked
    anyway.

    Raises TypeError for other types, ValueError for a probability outside (0, 1], an attention mask
    of another shape, or token ids outside the vocabulary.
    """
    ids = (
        tokenizer_or_ids
        if isinstance(tokenizer_or_ids, MaskingIds)
        else MaskingIds.of(tokenizer_or_ids)
    )
    check_probability("probability", probability)
    is_tensor = isinstance(input_ids, Tensor)
    require(is_tensor, "input_ids", input_ids, "an int64 tensor (batch, sequence)", TypeError)
    whole = input_ids.dtype == torch.int64
    require(whole, "input_ids", input_ids.dtype, "an int64 tensor (batch, sequence)", TypeError)
    seeded = isinstance(generator, torch.Generator)
    require(seeded, "generator", generator, "a torch.Generator", TypeError)
    check_mask(attention_mask, input_ids)
    if input_ids.numel() == 0:
        return input_ids.clone(), input_ids.clone()
    if input_ids.min() < 0 or input_ids.max() >= ids.vocab_size:
        raise ValueError(
            f"input_ids: has ids outside 0..{ids.vocab_size - 1}, the tokenizer's vocabulary"
        )
    device = input_ids.device
    is_special = torch.zeros(ids.vocab_size, dtype=torch.bool, device=device)
    is_special[list(ids.special_ids)] = True
    allowed = ~is_special[input_ids]
    if attention_mask is not None:
        allowed &= attention_mask.bool()

    pick_draw = _uniform(input_ids.shape, generator, device)
    pick_draw = pick_draw.masked_fill(~allowed, 2.0)  # 2 is above any probability
    picked = pick_draw < probability
    smallest = pick_draw.argmin()
    picked.view(-1)[smallest] = allowed.reshape(-1)[smallest]
    labels = input_ids.masked_fill(~picked, IGNORED)

    ordinary = (~is_special).nonzero().squeeze(1)
    which = _uniform(input_ids.shape, generator, device)
    random_tokens = ordinary[(_uniform(input_ids.shape, generator, device) * len(ordinary)).long()]
    corrupted = torch.where(picked & (which < 0.8), ids.mask_token_id, input_ids)
    corrupted = torch.where(picked & (which >= 0.8) & (which < 0.9), random_tokens, corrupted)
    return corrupted, labels


def check_probability(argument: str, got: object) -> None:
    require(is_number(got), argument, got, "a number in (0, 1]", TypeError)
    require(0 < got <= 1, argument, got, "a number in (0, 1]")


def check_mask(attention_mask: Tensor | None, input_ids: Tensor) -> None:
    """None, or a tensor of the shape of `input_ids`."""
    if attention_mask is None:
        return
    shape = tuple(input_ids.shape)
    wants = f"None or a tensor of shape {shape}"
    is_tensor = isinstance(attention_mask, Tensor)
    require(is_tensor, "attention_mask", attention_mask, wants, TypeError)
    got = tuple(attention_mask.shape)
    require(got == shape, "attention_mask", got, wants)


def _uniform(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(
        device
    )
