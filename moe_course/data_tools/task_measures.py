"""Measures for labelled sets: duplicates across splits and simple baselines."""

import unicodedata
from itertools import combinations

import numpy as np

from moe_lib.tuning.metrics import recall_at_k
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
    # A request that shares no word with any product finds nothing, whatever the order of equal
    # zeros.
    found = [
        [item for item in row.tolist() if scores[i, item] > 0] for i, row in enumerate(nearest)
    ]
    return recall_at_k(found, [list(items) for items in relevant], k)
