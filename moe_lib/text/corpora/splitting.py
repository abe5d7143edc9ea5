"""Decide which documents train and which are held out."""

import hashlib

from moe_lib.text.corpora.near_duplicates import (
    containers,
    first_of_linked,
    near_duplicate_groups,
)


def split_positions(documents: list[dict]) -> list[float]:
    """A number in [0, 1) per document: below `held_out`, the document is held out.

    It depends on the document's key (or, without one, its text), not on its place in the list. Near
    copies, and documents with equal keys, share one number, so they land on the same side.
    """
    pairs = list(enumerate(near_duplicate_groups([document["text"] for document in documents])))
    first_with_key: dict[str, int] = {}
    for index, document in enumerate(documents):
        if document["key"] is not None:
            pairs.append((index, first_with_key.setdefault(document["key"], index)))
    groups = first_of_linked(len(documents), pairs)
    lowest: dict[int, float] = {}
    for group, document in zip(groups, documents, strict=True):
        own = hash_fraction(
            "split", document["text"] if document["key"] is None else document["key"]
        )
        lowest[group] = min(own, lowest.get(group, 1.0))
    return [lowest[group] for group in groups]


def highest_containers(documents: list[dict], positions: list[float]) -> list[float]:
    """Per document, the highest position among the documents that hold half of its shingles or
    more; -1 for none.

    If that one trains, the document is known from training, although it is no near copy of it.
    """
    holding = containers([document["text"] for document in documents])
    return [max((positions[other] for other in others), default=-1.0) for others in holding]


def split_threshold(positions: list[float], held_out: float) -> float:
    """`held_out`, moved just enough that neither side is empty. Raises ValueError if that cannot
    be."""
    if held_out == 0:
        return 0.0
    distinct = sorted(set(positions))
    if len(distinct) < 2:
        raise ValueError(
            "held_out: all documents are one, or near copies of one, so none can be held out; "
            "give more documents, or held_out=0"
        )
    return min(max(held_out, distinct[1]), distinct[-1])


def hash_fraction(purpose: str, text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same on every machine and in every
    run."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=7, person=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**56
