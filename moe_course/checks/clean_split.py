"""Is a split of documents into training and held-out rows clean? For the exercise of chapter 01."""

import torch
from torch import Tensor

from moe_course.checks.comparisons import expect_true


def expect_clean_split(
    train: Tensor, heldout: Tensor, documents: list[list[int]], end: int
) -> None:
    """Raise NotYet, saying why, unless each document is on one side, once, and chance chose it.

    train, heldout  (rows, length) int64: what the learner's function made of `documents`
    documents       document d is made of the token 100 + d alone
    """
    on_train, on_heldout = (set(rows.unique().tolist()) - {end} for rows in (train, heldout))
    both, n = on_train & on_heldout, len(on_heldout)
    expect_true(
        not both, f"{len(both)} of the {n} held-out documents also stand in the training rows."
    )
    expect_true(
        len(on_train) > 8,
        f"{n} of {len(documents)} documents are held out, and {len(on_train)} are for training. "
        "Training rows come first: were the two exchanged?",
    )
    expect_true(
        2 <= n <= 8,
        f"{n} of {len(documents)} documents are held out; want about a tenth of the documents.",
    )
    known = {100 + d for d in range(len(documents))} | {end}
    expect_true(
        on_train | on_heldout <= known,
        "The rows hold tokens that are in no document: packing fills every row with text, and "
        "needs no padding.",
    )
    rows = torch.cat([train, heldout])
    expect_true(
        bool((train == end).any() and (heldout == end).any()),
        "There is no end token between the documents of a side.",
    )
    total = sum(len(ids) + 1 for ids in documents)
    doubled = [d for d, ids in enumerate(documents) if int((rows == 100 + d).sum()) > len(ids)]
    expect_true(
        not doubled,
        f"{len(doubled)} documents stand in the rows more than once: each is drawn once only.",
    )
    expect_true(
        rows.numel() > total - 2 * rows.shape[1],
        f"Only {rows.numel()} of {total} tokens are left: keep every document.",
    )
    expect_true(
        rows.numel() <= total,
        f"The rows have {rows.numel()} places for {total} tokens: packing fills every row, and "
        "needs no padding.",
    )
    first, last = min(on_heldout), max(on_heldout)
    expect_true(
        last - first + 1 > n,
        f"The held-out documents are numbers {first - 100} to {last - 100}, one after the other. "
        "Documents often lie sorted, by topic or by date. Would these be like the rest?",
    )
    lengths = sorted(len(ids) for ids in documents)
    held_lengths = sorted(len(documents[d - 100]) for d in on_heldout)
    expect_true(
        held_lengths not in (lengths[:n], lengths[-n:]),
        f"The held-out documents are the {n} shortest or longest of all. Would these be like the "
        "rest?",
    )
