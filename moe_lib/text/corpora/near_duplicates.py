"""Find documents that are copies or near copies of each other.

A document becomes the set of its three-word shingles; two documents are near copies when the
Jaccard similarity |A and B| / |A or B| of their sets reaches a threshold. Comparing all pairs is
slow, so only pairs that can reach the threshold are compared. The result is exact, not an estimate.

Source of the filter: Bayardo, Ma and Srikant, "Scaling up all pairs similarity search", WWW 2007.
"""

import math
import re

import numpy as np

# A Chinese or Japanese character counts as a word of its own: such text has no spaces between
# words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")
_WORD_BITS = 21


def near_duplicate_groups(texts: list[str], threshold: float = 0.5) -> list[int]:
    """Group near copies: for each text, the index of the first text of its group.

    Groups are closed under "is a near copy of": if A is like B and B is like C, all three share a
    group. Upper and lower case, punctuation and spaces are ignored. Deterministic.

    Raises ValueError if `threshold` is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: got {threshold}, wanted a number in (0, 1]")
    sets = _shingles(texts)
    groups = Groups(len(texts))
    members = [frozenset(shingles.tolist()) for shingles in sets]
    for first, second in _candidate_pairs(sets, threshold):
        if groups.find(first) == groups.find(second):
            continue
        common = len(members[first] & members[second])
        if common >= threshold * (len(members[first]) + len(members[second]) - common):
            groups.join(first, second)
    return [groups.find(index) for index in range(len(texts))]


def containers(texts: list[str], threshold: float = 0.5) -> list[list[int]]:
    """For each text, the other texts that hold at least `threshold` of its shingles, in order.

    A short text quoted in a long one is no near copy by Jaccard similarity, but whoever read the
    long one knows it.
    """
    sets = _shingles(texts)
    members = [frozenset(shingles.tolist()) for shingles in sets]
    holders: dict[int, list[int]] = {}
    for index, shingles in enumerate(members):
        for shingle in shingles:
            holders.setdefault(shingle, []).append(index)
    result = []
    for index, shingles in enumerate(members):
        # a text that holds enough of them holds at least one of the rarest n - ceil(threshold * n)
        # + 1
        rarest = sorted(shingles, key=lambda shingle: (len(holders[shingle]), shingle))
        prefix = rarest[: len(rarest) - math.ceil(threshold * len(rarest)) + 1]
        candidates = {other for shingle in prefix for other in holders[shingle]} - {index}
        enough = threshold * len(shingles)
        result.append(
            sorted(other for other in candidates if len(shingles & members[other]) >= enough)
        )
    return result


class Groups:
    """Disjoint sets of the numbers 0 .. n-1; the smallest number of a set stands for it
    (union-find)."""

    def __init__(self, n: int):
        self._parent = list(range(n))

    def find(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]  # halve the path
            index = self._parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low


def _shingles(texts: list[str]) -> list[np.ndarray]:
    """Per text, the sorted distinct three-word shingles, each as one integer made of three word
    numbers."""
    numbers: dict[str, int] = {}
    result = []
    for text in texts:
        words = _WORD.findall(text.lower()) or [text]
        ids = np.array(
            [numbers.setdefault(word, len(numbers) + 1) for word in words], dtype=np.uint64
        )
        ids %= np.uint64(1 << _WORD_BITS)
        ids = np.pad(ids, (0, max(0, 3 - len(ids))))
        shift = np.uint64(_WORD_BITS)
        result.append(np.unique((ids[:-2] << shift << shift) | (ids[1:-1] << shift) | ids[2:]))
    return result


def _candidate_pairs(sets: list[np.ndarray], threshold: float) -> list[tuple[int, int]]:
    """Pairs that may reach the threshold, in order.

    Sort each set from its rarest shingle to its commonest. If two sets are similar enough, they
    must already share one among the first n - ceil(threshold * n) + 1: otherwise too few are left
    to share.
    """
    if not sets:
        return []
    lengths = np.array([len(shingles) for shingles in sets])
    _, number, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    owners: dict[int, list[int]] = {}
    start = 0
    for document, length in enumerate(lengths.tolist()):
        mine = number[start : start + length]
        start += length
        prefix = length - math.ceil(threshold * length) + 1
        order = np.lexsort((mine, counts[mine]))
        for shingle in mine[order[:prefix]].tolist():
            if counts[shingle] > 1:
                owners.setdefault(shingle, []).append(document)
    pairs = set()
    for documents in owners.values():
        for position, second in enumerate(documents):
            for first in documents[:position]:
                low, high = sorted((lengths[first], lengths[second]))
                if low >= threshold * high:
                    pairs.add((first, second))
    return sorted(pairs)
