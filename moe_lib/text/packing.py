"""From token lists to rectangles of token ids: packing (no padding), padding (a row per text)."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model_inputs import check_packed, checked_columns, checked_lists
from moe_lib.validation import Choice, Count, checked, whole

Id = Annotated[int, whole(0, 2**63 - 1)]  # what int64 holds


@dataclass(frozen=True)
class Packed:
    """Documents laid end to end and cut into rows of equal length.

    input_ids  (n, S) int64   token ids; every document is followed by the end token
    documents  (n, S) int64   which document each token came from
    domains    the domain of each document, so `domains[documents[row, column]]`; None if not known
    """

    input_ids: Tensor
    documents: Tensor
    domains: tuple[str, ...] | None = None

    def __post_init__(self):
        check_packed(self)

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def domain_ids(self) -> tuple[Tensor, list[str]]:
        """The domain of every token, (n, S) int64, and the sorted names these numbers stand for."""
        wants = "a Packed that encode_corpus made"
        require(self.domains is not None, "domains", None, wants)
        names = sorted(set(self.domains))
        numbers = torch.tensor([names.index(domain) for domain in self.domains])
        return numbers[self.documents], names


@checked
def pack(token_lists: Any, sequence_length: Count, end_token_id: Id) -> Packed:
    """Join all token lists, each followed by `end_token_id`, and cut the result into rows of
    `sequence_length` (S).

    Nothing is padded, so every position counts; the last tokens that do not fill a row are left
    out. A row may hold the end of one document and the start of the next; the end token tells them
    apart. Raises ValueError if there are too few tokens for one row.
    """
    token_lists = checked_lists(token_lists)
    lengths = np.array([len(tokens) + 1 for tokens in token_lists], dtype=np.int64)
    total = int(lengths.sum())
    wants = f"enough for one row of sequence_length={sequence_length}"
    require(total >= sequence_length, "token_lists", f"{total} tokens with end tokens", wants)
    stream = np.full(total, end_token_id, dtype=np.int64)
    is_text = np.ones(total, dtype=bool)
    is_text[np.cumsum(lengths) - 1] = False
    stream[is_text] = np.concatenate(token_lists)
    documents = np.repeat(np.arange(len(lengths)), lengths)
    used = total - total % sequence_length
    rows = (array[:used].reshape(-1, sequence_length) for array in (stream, documents))  # (n, S)
    return Packed(*map(torch.from_numpy, rows))


@checked
def pad_batch(
    token_lists: Any,
    pad_token_id: Id,
    side: Choice("right", "left") = "right",
    max_length: Count | None = None,
) -> tuple[Tensor, Tensor]:
    """Make rows of equal length by filling with `pad_token_id` on one side.

    Returns (input_ids, attention_mask), both (batch, longest) int64; the mask is 1 on text and 0 on
    padding. Rows longer than `max_length` lose their end. Pad on the left to generate: the last
    position is then text. Raises ValueError for an unknown side, no lists, `max_length` below 1.
    """
    rows = [tokens[:max_length] for tokens in checked_lists(token_lists)]
    require(len(rows) > 0, "token_lists", "no lists", "at least one")
    longest = max(len(row) for row in rows)
    require(longest > 0, "token_lists", "no tokens", "lists with at least one token in all")
    input_ids = torch.full((len(rows), longest), pad_token_id, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for index, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        input_ids[index, place] = torch.from_numpy(row)
        attention_mask[index, place] = 1
    return input_ids, attention_mask


def encode_corpus(dataset: Any, tokenizer: Any, sequence_length: int) -> Packed:
    """Encode every document of a dataset with columns `text` and `domain`, and pack them. The text
    is taken literally: characters that spell "<|end|>" do not become the end token. Raises
    ValueError if the columns are missing or the tokenizer has no end token."""
    texts, domains = checked_columns(dataset, "text", "domain")
    ends = getattr(tokenizer, "eos_token_id", None) is not None
    wants = "a tokenizer with an end token (eos_token), which packing needs"
    require(ends, "tokenizer", type(tokenizer).__name__, wants)
    how = dict(add_special_tokens=False, split_special_tokens=True)
    how |= dict(return_attention_mask=False, return_token_type_ids=False)
    # Not verbose: no warning that a document exceeds a model's context, as it is cut into rows.
    encoded = tokenizer(texts, verbose=False, **how)
    packed = pack(encoded["input_ids"], sequence_length, tokenizer.eos_token_id)
    return Packed(packed.input_ids, packed.documents, tuple(domains))
