"""Measures for labelled sets: duplicates across splits, agreement, ROUGE, and simple baselines.

Sources: Cohen, "A Coefficient of Agreement for Nominal Scales", 1960; Lin, "ROUGE: A Package for
Automatic Evaluation of Summaries", 2004.
"""

import re
import unicodedata
from collections import Counter
from itertools import combinations

import numpy as np

from moe_lib.tuning.overlap import sentences

NEAR = 0.7  # the Jaccard similarity of character 3-grams above which two texts are near copies


def normalised(text: str) -> str:
    """Unicode NFKC, lower case, only letters and digits, single spaces: what counts as an equal
    text."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(
        "".join(character if character.isalnum() else " " for character in text).split()
    )


def cross_duplicates(splits: dict[str, list[str]]) -> dict:
    """Compare each text with those of the other splits.

    Returns equal and near (pairs across splits that are equal, or above NEAR, after `normalised`),
    highest (the largest similarity) and pair (the two texts that have it).
    """
    from sklearn.feature_extraction.text import CountVectorizer

    sides = [(texts, [normalised(text) for text in texts]) for texts in splits.values() if texts]
    vectorizer = CountVectorizer(analyzer=_grams, binary=True, dtype=np.int64)
    vectorizer.fit([text for _, cleaned in sides for text in cleaned])
    equal = near = 0
    highest, pair = 0.0, ("", "")
    for (texts, cleaned), (other_texts, other_cleaned) in combinations(sides, 2):
        rows, others = vectorizer.transform(cleaned), vectorizer.transform(other_cleaned)
        common = (rows @ others.T).toarray()
        similarity = common / (rows.sum(axis=1) + others.sum(axis=1).T - common)
        similarity = np.asarray(similarity)
        equal += sum(cleaned[i] == other_cleaned[j] for i, j in np.argwhere(similarity == 1))
        near += int((similarity > NEAR).sum())
        if similarity.max() > highest:
            i, j = np.unravel_index(similarity.argmax(), similarity.shape)
            highest, pair = float(similarity[i, j]), (texts[i], other_texts[j])
    return {"equal": equal, "near": near, "highest": highest, "pair": pair}


def _grams(text: str) -> list[str]:
    """Character 3-grams; a shorter text is one gram."""
    return [text[i : i + 3] for i in range(max(1, len(text) - 2))]


def cohen_kappa(first: list, second: list) -> float:
    """Agreement of two labellings of the same rows beyond chance: 1 is full agreement, 0 is chance.

    Raises ValueError if the lists are empty or differ in length. If both give all rows one and the
    same label, chance is full agreement too, and kappa is 1 by convention.
    """
    if not first or len(first) != len(second):
        raise ValueError(
            f"first, second: got {len(first)} and {len(second)} labels, wanted as many, at "
            "least one"
        )
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    counts = Counter(first), Counter(second)
    chance = sum(counts[0][label] * counts[1][label] for label in counts[0]) / n**2
    return 1.0 if chance == 1 else (observed - chance) / (1 - chance)


def rouge(summary: str, reference: str) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L as F1, from 0 to 1. Words are runs of letters and digits,
    without stemming."""
    found, wanted = _words(summary), _words(reference)
    scores = {f"rouge{n}": _overlap(_ngrams(found, n), _ngrams(wanted, n)) for n in (1, 2)}
    common = _longest_common(found, wanted)
    return {**scores, "rougeL": 2 * common / (len(found) + len(wanted)) if found or wanted else 0.0}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _ngrams(words: list[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _overlap(first: Counter, second: Counter) -> float:
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def _longest_common(first: list[str], second: list[str]) -> int:
    """The length of the longest common subsequence, row by row of the usual table."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = row[:]
        for j, other in enumerate(second, start=1):
            row[j] = before[j - 1] + 1 if word == other else max(before[j], row[j - 1])
    return row[-1]


def text_classifiers() -> dict:
    """Two baselines, not fitted yet: TF-IDF of characters or of words, then logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectorizers = {
        # Needs no word boundaries, which Chinese does not write.
        "characters": TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True),
        "words": TfidfVectorizer(),
    }
    return {
        name: make_pipeline(vector, LogisticRegression(max_iter=1000))
        for name, vector in vectorizers.items()
    }


def best_sentences(
    contexts: list[str], questions: list[str], fit_on: list[str]
) -> list[tuple[int, str]]:
    """For each question, the sentence of its context with the highest TF-IDF cosine, and its
    offset."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english").fit(fit_on)
    chosen = []
    for context, question in zip(contexts, questions, strict=True):
        found = sentences(context)
        scores = (
            vectorizer.transform([sentence for _, sentence in found])
            @ vectorizer.transform([question]).T
        )
        chosen.append(found[int(scores.toarray()[:, 0].argmax())])
    return chosen


def retrieval_recall(
    products: list[str], requests: list[str], relevant: list[set[int]], k: int
) -> float:
    """Mean share of each request's products among the k nearest by TF-IDF cosine, fitted on the
    products."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    items = vectorizer.fit_transform(products)
    scores = (vectorizer.transform(requests) @ items.T).toarray()
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    shares = [
        # A request that shares no word with any product finds nothing, whatever the order of equal
        # zeros.
        len({item for item in row.tolist() if scores[i, item] > 0} & wanted) / len(wanted)
        for i, (row, wanted) in enumerate(zip(nearest, relevant, strict=True))
    ]
    return float(np.mean(shares))
