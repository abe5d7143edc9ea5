"""Chapter 13's four tasks: rows to train on, rows to be tested on, and what needs no training to be
compared with."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moe_lib.errors import require
from moe_lib.paths import DATA
from moe_lib.text import load_corpus, load_products, load_task
from moe_lib.tuning.prompting import (
    STYLES,
    product_chats,
    recommendation_chats,
    style_chat,
    summary_chats,
    translation_chats,
)

TASKS = ("translate", "summarise", "recommend", "write")
BATCH_SIZES = {"translate": 16, "summarise": 4, "recommend": 16, "write": 12}
WEIGHTS = {"translate": 16, "summarise": 4, "recommend": 6, "write": 6}  # of 32 batches
# Ever further from the training text: sentences of it; its patterns with other words in them;
# patterns that it does not have, made of words that it has; free sentences.
SPLITS = ("seen", "known_patterns", "test_combinations", "test_free")
# Beginnings that fit every style, for the test of style: only the request tells which one is
# wanted.
BEGINNINGS = (
    "The old woman said",
    "On Monday the",
    "A small box of",
    "After the first week,",
    "Nobody knows why",
    "In the morning,",
    "The people of the",
    "It was the second",
    "We were told that",
    "For most of the year",
    "There is one more",
    "When the water",
)


@dataclass(frozen=True)
class GenerationData:
    """chats: task -> chats with answers, to train on. pairs: split -> {"en", "zh"} of the
    translation, see SPLITS. summaries: test rows. requests: test rows of the catalogue. products:
    all. passages: style -> test passages."""

    chats: dict[str, list]
    pairs: dict[str, list[dict]]
    summaries: list[dict]
    requests: list[dict]
    products: list[dict]
    passages: dict[str, list[str]]


def load_generation_data() -> GenerationData:
    """Everything from the repository's own files, always in the same order."""
    translation, summaries, catalogue = (
        load_task(n) for n in ("translation_en_zh", "summaries", "catalogue")
    )
    products, corpus = list(load_products()), load_corpus("mixture")
    pairs = _translation_pairs(translation)
    chats = {
        "translate": translation_chats(pairs["train"]),
        "summarise": summary_chats(summaries["train"]),
        "recommend": recommendation_chats(catalogue["train"], products) + product_chats(products),
        "write": [
            style_chat(style, *_halves(text))
            for style, texts in style_passages(corpus["train"]).items()
            for text in texts
        ],
    }
    return GenerationData(
        chats,
        pairs,
        list(summaries["test"]),
        list(catalogue["test"]),
        products,
        style_passages(corpus["heldout"]),
    )


def _translation_pairs(translation) -> dict[str, list[dict]]:
    """The task's own splits; of the training sentences made by the grammar, every eighth is kept
    back."""
    pairs = {split: list(rows["translation"]) for split, rows in translation.items()}
    made = [
        place
        for place, origin in enumerate(translation["train"]["origin"])
        if origin.startswith("grammar:")
    ]
    kept_back = set(made[::8])
    pairs["known_patterns"] = [pairs["train"][place] for place in sorted(kept_back)]
    pairs["train"] = [pair for place, pair in enumerate(pairs["train"]) if place not in kept_back]
    pairs["seen"] = pairs["train"][::10]
    return pairs


def style_passages(documents) -> dict[str, list[str]]:
    """Style -> passages of whole sentences, 15 to 35 words, in the order of the documents of its
    domain."""
    found = {style: [] for style in STYLES}
    for text, domain in zip(documents["text"], documents["domain"], strict=True):
        if domain not in STYLES:
            continue
        passage = ""
        for sentence in re.split(r"(?<=[.!?”\"])\s+", text):
            passage = f"{passage} {sentence}".strip()
            words = len(passage.split())
            if words >= 15:
                found[domain] += [passage] if words <= 35 else []
                passage = ""
    return found


def _halves(passage: str, words: int = 4) -> tuple[str, str]:
    """The first words, and the rest."""
    parts = passage.split()
    return " ".join(parts[:words]), " ".join(parts[words:])


def lead_sentence(text: str) -> str:
    """The first sentence: the usual baseline of summarising."""
    return re.split(r"(?<=[.!?])\s+", text.strip())[0]


class Lexicon:
    """Word by word: the longest entries of the task's own lexicon, left to right; words it lacks
    are left out."""

    def __init__(self, path=None):
        path = path or DATA / "tasks" / "translation_en_zh" / "lexicon.tsv"
        self.words: dict[str, str] = {}
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                forms = dict(
                    part.split("=", 1) for part in (row["features"] or "").split(";") if "=" in part
                )
                names = ("s", "past", "ing", "pp", "pl", "obj", "comp")
                for form in (row["en"], *(forms[name] for name in names if name in forms)):
                    self.words.setdefault(form.lower(), row["zh"])
        self.longest = max(len(entry.split()) for entry in self.words)

    def __call__(self, text: str) -> str:
        words, found, place = re.findall(r"[a-z'’]+", text.lower()), [], 0
        while place < len(words):
            for length in range(min(self.longest, len(words) - place), 0, -1):
                entry = self.words.get(" ".join(words[place : place + length]))
                if entry or length == 1:
                    found.append(entry or "")
                    place += length
                    break
        return "".join(found) + ("？" if text.rstrip().endswith("?") else "。")


class Nearest:
    """What stands beside the nearest key by TF-IDF: of known sentences their translations, of
    products their ids."""

    def __init__(self, keys: Sequence[str], values: Sequence[Any]):
        from sklearn.feature_extraction.text import TfidfVectorizer

        require(
            len(keys) == len(values) > 0,
            "values",
            len(values),
            f"one per key ({len(keys)}), at least one",
        )
        self.vectorizer, self.values = TfidfVectorizer(sublinear_tf=True), list(values)
        self.matrix = self.vectorizer.fit_transform(keys)

    def ranked(self, texts: Sequence[str], k: int = 1) -> list[list]:
        """For each text the values of its k nearest keys, nearest first."""
        similar = (self.vectorizer.transform(texts) @ self.matrix.T).toarray()
        return [[self.values[i] for i in (-row).argsort(kind="stable")[:k]] for row in similar]


def product_text(product: Mapping[str, Any]) -> str:
    """Everything that the catalogue says about a product, as the TF-IDF baseline reads it."""
    attributes = json.loads(product["attributes"])
    told = " ".join(f"{name} {value}" for name, value in attributes.items())
    return f"{product['name']} {product['category']} {product['description']} {told}"


class StyleJudge:
    """Tells the styles apart by their words: TF-IDF and a logistic regression, trained on the
    training passages."""

    def __init__(self, passages: Mapping[str, Sequence[str]]):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        texts = [(text, style) for style, found in passages.items() for text in found]
        self.model = make_pipeline(
            TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
        )
        self.model.fit([text for text, _ in texts], [style for _, style in texts])

    def __call__(self, texts: Sequence[str]) -> list[str]:
        return list(self.model.predict(list(texts)))
