"""Augmentation of encoded rows: decode, change, encode again. The label stays."""

from collections.abc import Callable
from dataclasses import dataclass

from moe_lib.errors import require
from moe_lib.tuning.arguments import Rate
from moe_lib.tuning.encoding import encode_texts
from moe_lib.tuning.examples import Encoded
from moe_lib.tuning.robust.augmentation import (
    InTurn,
    Synonyms,
    WordDropout,
    augment_texts,
    words_of_labels,
)
from moe_lib.validation import Count, Flag, Seed, Share, Tokenizer, checked


@checked
def augment_rows(
    encoded: Encoded,
    tokenizer: Tokenizer,
    change: Callable,
    *,
    copies: Count = 1,
    keep: Flag = True,
    seed: Seed = 0,
    max_length: Count = 128,
) -> Encoded:
    """Rows of `encode_texts` -> the same, and `copies` changed versions of each, one row below the
    other.

    keep   False: the changed versions alone

    An epoch is then 1 + copies times as long: compare methods by steps, not by epochs.
    Raises ValueError for rows of another kind (words, questions or choices have labels at places in
    the text).
    """
    for row in encoded.rows[:1]:
        plain = set(row) <= {"input_ids", "labels"} and not isinstance(row.get("labels"), list)
        require(plain, "encoded", f"rows with {', '.join(row)}", "rows of encode_texts")
    texts = [tokenizer.decode(_without_end(row["input_ids"], tokenizer)) for row in encoded.rows]
    rows = list(encoded.rows) if keep else []
    for copy in range(copies):
        changed = augment_texts(texts, change, seed=seed * 1000 + copy)
        fresh = encode_texts(changed, None, tokenizer, max_length=max_length)
        labels = [{"labels": row["labels"]} if "labels" in row else {} for row in encoded.rows]
        rows += [{**new, **label} for new, label in zip(fresh.rows, labels, strict=True)]
    return Encoded(rows, encoded.pad_token_id, encoded.label_names)


@checked
@dataclass(frozen=True)
class Augment:
    """A `prepare` for a Case of a comparison: synonyms and word dropout, words of the labels
    protected."""

    tokenizer: Tokenizer
    synonyms: Share = 0.3
    dropout: Rate = 0.1
    copies: Count = 2

    def __call__(self, encoded: Encoded, seed: int) -> Encoded:
        protect = words_of_labels(encoded.label_names)
        change = InTurn([Synonyms(self.synonyms, protect), WordDropout(self.dropout, protect)])
        return augment_rows(encoded, self.tokenizer, change, copies=self.copies, seed=seed)

    def __repr__(self) -> str:
        return f"Augment(synonyms={self.synonyms}, dropout={self.dropout}, copies={self.copies})"


def _without_end(ids: list[int], tokenizer) -> list[int]:
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
