"""Find documents that are copies or near copies of each other.

A document becomes the set of its three-word shingles; two documents are near copies when the
Jaccard similarity |A and B| / |A or B| of their sets reaches a threshold. The sets are the rows of
a sparse matrix of ones and zeros (scikit-learn's CountVectorizer), and the product of that matrix
with itself counts the shared shingles of all pairs at once: exact, not an estimate.

scikit-learn and scipy are imported on use, so that `import moe_lib.text` stays quick.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from moe_lib.errors import require_number, require_texts

# A Chinese or Japanese character counts as a word of its own: such text has no spaces between
# words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")
_ROWS = 512  # documents compared with all others at a time: bounds the memory of the product


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.5) -> list[int]:
    """Group near copies: for each text, the index of the first text of its group.

    Groups are closed under "is a near copy of": if A is like B and B is like C, all three share a
    group. Upper and lower case, punctuation and spaces are ignored. Deterministic.

    Raises ValueError if `threshold` is not in (0, 1], TypeError if `texts` is no list of texts.
    """
    _check(texts, threshold)
    pairs = []
    for first, second, common, sizes in _shared(texts):
        alike = common >= threshold * (sizes[first] + sizes[second] - common)
        pairs.append(np.stack([first[alike], second[alike]], axis=1))
    return first_of_linked(len(texts), np.concatenate(pairs) if pairs else ())


def containers(texts: Sequence[str], threshold: float = 0.5) -> list[list[int]]:
    """For each text, the other texts that hold at least `threshold` of its shingles, in order.

    A short text quoted in a long one is no near copy by Jaccard similarity, but whoever read the
    long one knows it. Raises as `near_duplicate_groups`.
    """
    _check(texts, threshold)
    found: list[list[int]] = [[] for _ in texts]
    for first, second, common, sizes in _shared(texts):
        holds = (common >= threshold * sizes[first]) & (first != second)
        for text, holder in zip(first[holds].tolist(), second[holds].tolist(), strict=True):
            found[text].append(holder)
    return [sorted(holders) for holders in found]


def first_of_linked(n: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of 0 .. n-1, the smallest number that a chain of `pairs` links it to, itself
    included."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array([*pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first, number = np.unique(component, return_index=True, return_inverse=True)
    return first[number].tolist()


def _check(texts: Sequence[str], threshold: float) -> None:
    require_texts("texts", texts)
    require_number("threshold", threshold, above=0, at_most=1)


def _shingles(text: str) -> list[str]:
    """Three words in a row, at every place; a shorter text is one shingle, filled up."""
    words = _WORD.findall(text.lower()) or [text]
    words += [""] * (3 - len(words))
    return [" ".join(three) for three in zip(words, words[1:], words[2:], strict=False)]


def _shared(texts: Sequence[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """(first, second, common, sizes) for blocks of texts: the pairs of texts that share a shingle,
    how many they share, and, for all texts, how many shingles each has."""
    from sklearn.feature_extraction.text import CountVectorizer

    if not texts:
        return
    vectorizer = CountVectorizer(analyzer=_shingles, binary=True, dtype=np.int32)
    rows = vectorizer.fit_transform(texts)  # (texts, shingles), 1 where the text has the shingle
    sizes = np.diff(rows.indptr)
    columns = rows.T.tocsr()
    for start in range(0, rows.shape[0], _ROWS):
        block = (rows[start : start + _ROWS] @ columns).tocoo()
        yield block.row + start, block.col, block.data, sizes
