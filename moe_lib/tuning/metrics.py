"""Measures of task quality, by well-kept libraries where there is one. All from 0 to 1, but BLEU
from 0 to 100."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from moe_lib.errors import is_whole, require, require_texts, require_whole
from moe_lib.tuning.arguments import is_list

# Han characters, with kana and hangul, which are not set apart by spaces either.
_HAN = re.compile(
    r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f])"
)
_ASCII_PUNCTUATION = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def accuracy(predicted: Sequence, targets: Sequence) -> float:
    """Share of equal pairs (scikit-learn's accuracy_score)."""
    from sklearn.metrics import accuracy_score

    _classes(predicted, targets)
    return float(accuracy_score(np.asarray(targets), np.asarray(predicted)))


def macro_f1(predicted: Sequence, targets: Sequence) -> float:
    """Mean over the classes of their F1 (scikit-learn). Classes: all in targets or predicted; F1 is
    0 where a class was never predicted, so a model that always says the commonest class scores
    low."""
    from sklearn.metrics import f1_score

    _classes(predicted, targets)
    return float(
        f1_score(np.asarray(targets), np.asarray(predicted), average="macro", zero_division=0)
    )


def normalised_words(text: str) -> list[str]:
    """SQuAD's normalisation (Rajpurkar et al. 2016): lower case, no punctuation, no a, an, the;
    then words.

    A Chinese character is a word. Punctuation is ASCII's and all that Unicode calls so; SQuAD's own
    script leaves “ ” … TypeError for what is no text.
    """
    require(isinstance(text, str), "text", text, "a text", TypeError)
    kept = "".join(
        c for c in text.lower() if c not in _ASCII_PUNCTUATION and unicodedata.category(c)[0] != "P"
    )
    return re.sub(r"\b(a|an|the)\b", " ", _HAN.sub(r" \1 ", kept)).split()


def exact_match(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Share of predictions equal to one of their accepted answers after normalisation.

    answers   one list of accepted texts per question; an empty list, or [""], means that there is
              no answer, and only the prediction "" is right
    """
    return _mean_best(lambda said, right: float(said == right), predicted, answers)


def span_f1(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Mean F1 of the words that prediction and answer share, the best accepted answer counting.
    Arguments as above."""
    return _mean_best(_word_f1, predicted, answers)


def bleu(
    predicted: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    language: str = "en",
) -> float:
    """Corpus BLEU from 0 to 100 by sacreBLEU (Post 2018); language "zh" cuts Chinese into
    characters, "en" is "13a".

    references   one text per prediction, or a list of them; lists may differ in length

    BLEU counts runs of up to four words: if no prediction has four, it is 0, also for texts that
    are all right. For such short texts use exact_match or span_f1.
    """
    import sacrebleu

    known = isinstance(language, str) and language in ("en", "zh")
    require(known, "language", language, '"en" or "zh"')
    _pairs(predicted, references, "references")
    require_texts("predicted", predicted)
    lists = [[r] if isinstance(r, str) else r for r in references]
    for place, texts in enumerate(lists):
        require_texts(f"references[{place}]", texts)
        require(len(texts) > 0, f"references[{place}]", texts, "at least one text")
    # sacreBLEU wants the first references of all, then all second ones …
    streams = [
        [r[place] if place < len(r) else None for r in lists]
        for place in range(max(map(len, lists)))
    ]
    tokenize = {"en": "13a", "zh": "zh"}[language]
    return float(sacrebleu.corpus_bleu(list(predicted), streams, tokenize=tokenize).score)


def rouge(
    predicted: Sequence[str],
    references: Sequence[str],
    kinds: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
) -> dict[str, float]:
    """Mean F of ROUGE (Lin 2004) by rouge-score, no stemming, with words in Chinese, a character
    each.

    rouge-score's own tokenizer keeps a–z and 0–9 only: any two Chinese texts would score 0.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _pairs(predicted, references, "references")
    require_texts("predicted", predicted)
    require_texts("references", references)
    require_texts("kinds", kinds)
    unknown = [kind for kind in kinds if not re.fullmatch(r"rouge([1-9]|L|Lsum)", kind)]
    wants = "some of rouge1 to rouge9, rougeL and rougeLsum"
    require(len(kinds) > 0 and not unknown, "kinds", unknown or kinds, wants)
    scorer = RougeScorer(list(kinds), tokenizer=_Words())
    scores = [
        scorer.score(target, said) for said, target in zip(predicted, references, strict=True)
    ]
    return {kind: float(np.mean([score[kind].fmeasure for score in scores])) for kind in kinds}


def recall_at_k(ranked: Sequence[Sequence], relevant: Sequence[Sequence], k: int) -> float:
    """Mean over the queries of (relevant items among the first k) / (relevant items).

    ranked     the items of each query, best first; relevant: the right ones, at least one per query
    """
    require_whole("k", k)
    _pairs(ranked, relevant, "relevant", "ranked")
    for argument, lists in (("ranked", ranked), ("relevant", relevant)):
        for place, items in enumerate(lists):
            require(is_list(items), f"{argument}[{place}]", items, "a list of items", TypeError)
    require(
        all(len(items) for items in relevant),
        "relevant",
        "an empty list",
        "at least one item per query",
    )
    return float(
        np.mean(
            [
                len(set(found[:k]) & set(right)) / len(set(right))
                for found, right in zip(ranked, relevant, strict=True)
            ]
        )
    )


def expected_calibration_error(probabilities, targets: Sequence[int], n_bins: int = 10) -> float:
    """Σ over bins of (share of examples) · |accuracy − mean confidence| (Guo et al. 2017, equation
    5).

    probabilities (n, K): rows sum to 1. Confidence is the largest; bins are equal parts of (0, 1],
    upper end counted in. 0 means: of the answers given with 80 %, 80 % are right.
    """
    require_whole("n_bins", n_bins)
    try:
        table = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = type(probabilities).__name__
        raise TypeError(f"probabilities: got {kind}; wants numbers of shape (n, K)") from error
    require(table.ndim == 2, "probabilities", table.shape, "shape (n, K)")
    inside = bool(((table >= 0) & (table <= 1)).all())  # False for NaN too
    require(inside, "probabilities", "numbers outside of 0 to 1", "probabilities, 0 to 1")
    require(
        bool(np.allclose(table.sum(1), 1, atol=1e-3)),
        "probabilities",
        "rows that do not sum to 1",
        "probabilities",
    )
    _pairs(table, targets, argument="probabilities")
    for place, target in enumerate(targets):
        fits = is_whole(target) and 0 <= target < table.shape[1]
        wants = f"a class, a whole number from 0 to {table.shape[1] - 1}"
        require(fits, f"targets[{place}]", target, wants)
    confidence, right = table.max(1), table.argmax(1) == np.asarray(targets)
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    error = 0.0
    for bin_ in np.unique(bins):
        inside = bins == bin_
        error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(error)


class _Words:
    """A tokenizer for rouge-score: lower-case words of letters and digits; each Chinese character
    is a word."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", _HAN.sub(r" \1 ", text.lower()))


def _word_f1(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))


def _mean_best(score: Callable[[list, list], float], predicted, answers) -> float:
    _pairs(predicted, answers, "answers")
    require_texts("predicted", predicted)
    require(
        not any(isinstance(texts, str) for texts in answers),
        "answers",
        "a text",
        "a list of texts per question",
    )
    for place, texts in enumerate(answers):
        require_texts(f"answers[{place}]", texts)
    return float(
        np.mean(
            [
                max(score(normalised_words(said), normalised_words(text)) for text in texts or [""])
                for said, texts in zip(predicted, answers, strict=True)
            ]
        )
    )


def _pairs(found, right, other: str = "targets", argument: str = "predicted") -> None:
    """`found` and `right`, the arguments of these names, must be lists of one length."""
    require(is_list(found), argument, found, "a list", TypeError)
    require(is_list(right), other, right, "a list", TypeError)
    require(
        len(found) == len(right) > 0,
        argument,
        f"{len(found)} beside {len(right)} {other}",
        "equally many, at least one",
    )


def _classes(predicted, targets) -> None:
    """Pairs of classes: whole numbers (bools are two classes), or names, not some of each."""
    _pairs(predicted, targets)
    kinds = set()
    for argument, found in (("predicted", predicted), ("targets", targets)):
        for place, one in enumerate(found):
            name = isinstance(one, str)
            fits = name or is_whole(one) or isinstance(one, bool | np.bool_)
            wants = "a class: a whole number or a name"
            require(fits, f"{argument}[{place}]", one, wants, TypeError)
            kinds.add(name)
            wants = "numbers or names of classes throughout"
            require(len(kinds) == 1, f"{argument}[{place}]", one, wants, TypeError)
