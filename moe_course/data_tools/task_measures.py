"""Measures for labelled sets: duplicates across splits and simple baselines."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np

from moe_lib.errors import refusal, require
from moe_lib.tuning.metrics import recall_at_k
from moe_lib.tuning.overlap import sentences
from moe_lib.validation import Count, Natural, Text, Texts, checked

NEAR = 0.7  # the Jaccard similarity of character 3-grams above which two texts are near copies


@checked
def normalised(text: Text) -> str:
    """Unicode NFKC, lower case, only letters and digits, single spaces: what counts as an equal
    text."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(
        "".join(character if character.isalnum() else " " for character in text).split()
    )


@checked
def cross_duplicates(splits: Mapping[str, Texts]) -> dict:
    """Compare each text with those of the other splits.

    Returns equal and near (pairs across splits that are equal, or above NEAR, after `normalised`),
    highest (the largest similarity) and pair (the two texts that have it).
    """
    from sklearn.feature_extraction.text import CountVectorizer

    require(any(splits.values()), "splits", splits, "at least one text")
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


def _fit(vectorizer, argument: str, texts: Sequence[str]) -> None:
    try:
        vectorizer.fit(texts)
    except ValueError:  # it has found no word
        wants = "texts with words in them, not only stop words"
        raise ValueError(refusal(argument, texts, wants)) from None


@checked
def best_sentences(contexts: Texts, questions: Texts, fit_on: Texts) -> list[tuple[int, str]]:
    """For each question, the sentence of its context with the highest TF-IDF cosine, and its
    offset."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    wants = f"one per context ({len(contexts)})"
    require(len(questions) == len(contexts), "questions", len(questions), wants)
    vectorizer = TfidfVectorizer(stop_words="english")
    _fit(vectorizer, "fit_on", fit_on)
    chosen = []
    for context, question in zip(contexts, questions, strict=True):
        found = sentences(context)
        require(len(found) > 0, "contexts", context, "a text with a sentence in it")
        scores = (
            vectorizer.transform([sentence for _, sentence in found])
            @ vectorizer.transform([question]).T
        )
        chosen.append(found[int(scores.toarray()[:, 0].argmax())])
    return chosen


@checked
def retrieval_recall(
    products: Texts, requests: Texts, relevant: Sequence[Collection[Natural]], k: Count
) -> float:
    """Mean share of each request's products among the k nearest by TF-IDF cosine, fitted on the
    products."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    require(len(requests) > 0, "requests", requests, "at least one")
    wants = f"one set per request ({len(requests)})"
    require(len(relevant) == len(requests), "relevant", len(relevant), wants)
    _fit(vectorizer, "products", products)
    items = vectorizer.transform(products)
    scores = (vectorizer.transform(requests) @ items.T).toarray()
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    # A request that shares no word with any product finds nothing, whatever the order of equal
    # zeros.
    found = [
        [item for item in row.tolist() if scores[i, item] > 0] for i, row in enumerate(nearest)
    ]
    return recall_at_k(found, [list(items) for items in relevant], k)
