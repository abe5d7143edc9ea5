"""A few pieces of every document: a small sample of each domain, to read a model's routing on."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import Tensor, tensor

from moe_lib.errors import require
from moe_lib.text import pad_batch


@dataclass(frozen=True)
class Pieces:
    """input_ids and attention_mask (pieces, length); document (pieces,), the number of the document
    that a piece is from; domains, the domain of each piece."""

    input_ids: Tensor
    attention_mask: Tensor
    document: Tensor
    domains: list[str]

    def batches(self, size: int = 32):
        """(input_ids, attention_mask) of `size` pieces after each other."""
        return zip(self.input_ids.split(size), self.attention_mask.split(size), strict=True)


def sample_pieces(
    documents: Any,
    tokenizer: Any,
    *,
    length: int = 128,
    shortest: int = 16,
    per_document: int = 3,
    per_domain: int = 24,
) -> Pieces:
    """Pieces of `length` tokens, spread over their document; the rest of a document is a piece if
    it has `shortest` tokens.

    documents     a Dataset (or dictionary of lists) with the columns text and domain
    per_document, per_domain   at most so many pieces; a document that would be one too many for
                  its domain is left out

    Raises ValueError if no document is long enough.
    """
    as_text = dict(add_special_tokens=False, split_special_tokens=True, verbose=False)
    encoded = tokenizer(list(documents["text"]), **as_text)["input_ids"]
    rows, numbers, taken = [], [], Counter()
    domains: list[str] = []
    for number, (tokens, domain) in enumerate(zip(encoded, documents["domain"], strict=True)):
        parts = [tokens[start : start + length] for start in range(0, len(tokens), length)]
        step = max(1, len(parts) // per_document)
        parts = [part for part in parts if len(part) >= shortest][::step][:per_document]
        if taken[domain] + len(parts) <= per_domain:
            taken[domain] += len(parts)
            rows += parts
            numbers += [number] * len(parts)
            domains += [domain] * len(parts)
    wants = f"a document of {shortest} tokens or more"
    require(len(rows) > 0, "documents", f"{len(encoded)} documents", wants)
    return Pieces(*pad_batch(rows, tokenizer.pad_token_id), tensor(numbers), domains)
