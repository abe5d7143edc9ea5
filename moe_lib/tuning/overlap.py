"""Words that a question and its passage share: a mark for a SpanExtractor, and a baseline that
learns nothing."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from moe_lib.errors import require, require_texts
from moe_lib.validation import Text, checked

_WORD = re.compile(
    r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+"
)  # Chinese writes no spaces: a character is a word there


def shared_places(question: str, passage: str) -> list[tuple[int, int]]:
    """First character and last + 1 of every word of the passage that the question has too, in some
    form.

    Words are compared by their stems in lower case ("walked", "Walking"); English function words
    ("the", "of") are left out: they stand in every sentence and tell nothing.
    """
    wanted = _stems(question)
    return [(start, end) for stem, start, end in _words(passage) if stem in wanted]


def overlap_answers(questions: Sequence[str], contexts: Sequence[str]) -> list[str]:
    """An answer to each question by counting shared words, after Richardson et al. (2013): no
    learning, no silence.

    The sentence with the largest sum of log(1 + 1 / count in the passage) over the words that it
    shares with the question; in it, the shortest run of words between function words and words of
    the question at its ends. The first one of several equal ones.
    """
    require_texts("questions", questions)
    require_texts("contexts", contexts)
    require(
        len(questions) == len(contexts),
        "contexts",
        len(contexts),
        f"one per question ({len(questions)})",
    )
    return [
        _overlap_answer(question, context)
        for question, context in zip(questions, contexts, strict=True)
    ]


def _overlap_answer(question: str, context: str) -> str:
    wanted, words = _stems(question), _words(context)
    require(len(words) > 0, "contexts", context, "a text with words")
    counts = Counter(stem for stem, _, _ in words)

    def inside(start: int, text: str) -> list[tuple[str, int, int]]:
        return [word for word in words if start <= word[1] < start + len(text)]

    def weight(part: list) -> float:
        return sum(
            math.log(1 + 1 / counts[stem]) for stem in {stem for stem, _, _ in part} & wanted
        )

    best = max((inside(*sentence) for sentence in sentences(context)), key=weight)
    runs = _runs(best, wanted, context) or [best or words[:1]]
    chosen = min(runs, key=len)
    return context[chosen[0][1] : chosen[-1][2]]


def _runs(words: list, wanted: set[str], context: str) -> list[list]:
    """The runs of words that the question does not have, without function words at their ends."""
    runs: list[list] = [[]]
    for word in words:
        if word[0] in wanted:
            runs.append([])
        else:
            runs[-1].append(word)
    for run in runs:
        for end in (0, -1):
            while run and context[run[end][1] : run[end][2]].lower() in _function_words():
                run.pop(end)
    return [run for run in runs if run]


def _words(text: str) -> list[tuple[str, int, int]]:
    """Stem, first character and last + 1 of each word."""
    return [
        (_stem(match.group().lower()), match.start(), match.end()) for match in _WORD.finditer(text)
    ]


def _stems(question: str) -> set[str]:
    words = {match.group().lower() for match in _WORD.finditer(question)}
    return {_stem(word) for word in words - _function_words()}


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    return _stemmer().stem(word)


@lru_cache(maxsize=1)
def _stemmer():
    from nltk.stem.snowball import SnowballStemmer

    return SnowballStemmer("english")


@lru_cache(maxsize=1)
def _function_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS


@checked
def sentences(text: Text) -> list[tuple[int, str]]:
    """The sentences of an English text with their offsets: cut after . ! or ? (and a quote) before
    a space."""
    starts = [
        0,
        *(match.end() for match in re.finditer(r"[.!?][\"'”’)]*\s+(?=[\"'“‘(]?[A-Z0-9])", text)),
    ]
    return [
        (start, text[start:end].strip())
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True)
    ]
