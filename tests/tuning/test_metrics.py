"""Metrics against hand-worked numbers, SQuAD's own script, and plain loops."""

import re
import string
from collections import Counter

import numpy as np
import pytest

from moe_lib.tuning import (
    accuracy,
    bleu,
    exact_match,
    expected_calibration_error,
    macro_f1,
    recall_at_k,
    rouge,
    span_f1,
)


def test_accuracy_and_macro_f1_by_hand():
    targets, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    assert accuracy(predicted, targets) == pytest.approx(4 / 6)
    # class 0: 2 right of 3 said and 3 there, F1 2/3; class 1: 2 of 3 said, 2 there, F1 4/5; class
    # 2: never said, 0
    assert macro_f1(predicted, targets) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    always = [0] * 100
    assert (
        accuracy(always, [0] * 95 + [1] * 5) == 0.95 and macro_f1(always, [0] * 95 + [1] * 5) < 0.5
    )
    with pytest.raises(ValueError, match="predicted: got '1 beside 2 targets'"):
        accuracy([1], [1, 2])


def squad_normalise(text):  # the published evaluation script of SQuAD 1.1 and 2.0
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def remove_punctuation(text):
        return "".join(c for c in text if c not in set(string.punctuation))

    return " ".join(remove_articles(remove_punctuation(text.lower())).split())


def squad_f1(said, right):
    said, right = squad_normalise(said).split(), squad_normalise(right).split()
    common = sum((Counter(said) & Counter(right)).values())
    if not said or not right:
        return float(said == right)
    if common == 0:
        return 0.0
    precision, recall = common / len(said), common / len(right)
    return 2 * precision * recall / (precision + recall)


def test_spans_as_squads_script_scores_them():
    pairs = [
        ("The Green Coat.", "green coat"),
        ("a green hat", "the green coat"),
        ("31 dinars a kilo", "31 dinars"),
        ("eleven", "twelve lots"),
        ("", ""),
        ("", "one"),
        ("one", ""),
        ("one one two", "one two two"),
        ("an apple-pie", "applepie"),
        ("$44", "44"),
    ]
    said, right = zip(*pairs, strict=True)
    assert exact_match(said, [[r] for r in right]) == pytest.approx(
        np.mean([squad_normalise(s) == squad_normalise(r) for s, r in pairs])
    )
    for one, other in pairs:
        assert span_f1([one], [[other]]) == pytest.approx(squad_f1(one, other)), (one, other)


def test_several_answers_none_and_chinese():
    assert span_f1(["green coat"], [["hat", "the coat"]]) == pytest.approx(
        2 / 3
    )  # the best of them counts
    assert exact_match(["", "x"], [[], []]) == 0.5  # no answer: only "" is right
    assert exact_match(["三十一第纳尔。"], [["三十一第纳尔"]]) == 1.0
    assert span_f1(["三十一第纳尔"], [["三十第纳尔"]]) == pytest.approx(
        2 * 5 / 11
    )  # characters: 6 said, 5 there
    with pytest.raises(ValueError, match="answers: got 'a text'"):
        exact_match(["x"], ["x"])


def test_bleu_by_hand_and_with_the_chinese_tokenizer():
    said, right = "the cat sat on the mat today", "the cat sat on a mat today"
    # n-grams that match: 6/7, 4/6, 2/5, 1/4; equal length, no brevity penalty
    assert bleu([said], [right]) == pytest.approx(
        100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25, abs=1e-6
    )
    assert bleu([said, right], [[right], ["something else here too", right]]) > bleu(
        [said, right], [right, "what is it"]
    )
    zh, reference = "今天天气很好我们去公园", "今天天气很好我们去学校"  # 9 of 11 characters
    expected = 100 * (9 / 11 * 8 / 10 * 7 / 9 * 6 / 8) ** 0.25
    assert bleu([zh], [reference], language="zh") == pytest.approx(expected, abs=1e-6)
    assert bleu([zh], [reference]) < 1  # 13a takes the whole sentence for one word
    with pytest.raises(ValueError, match="language: got 'de'"):
        bleu(["x"], ["x"], language="de")


def longest_common(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
            )
    return int(table[-1, -1])


def test_rouge_by_hand():
    # found: the cat sat on the mat (6 words, 5 pairs); wanted: the cat lay on a mat (6 words, 5
    # pairs) words in common: the, cat, on, mat = 4 -> 8/12; pairs: "the cat" = 1 -> 2/10; longest:
    # the cat on mat = 4
    assert rouge(["The cat sat on the mat."], ["the cat lay on a mat"]) == pytest.approx(
        {"rouge1": 8 / 12, "rouge2": 2 / 10, "rougeL": 8 / 12}
    )
    # The order counts in L only: "b a" shares both words, no pair, and one word in order.
    assert rouge(["b a"], ["a b"]) == {"rouge1": 1.0, "rouge2": 0.0, "rougeL": 0.5}
    # A word counts as often as both have it: min(3, 1) = 1 of 3 + 1.
    assert rouge(["so so so"], ["so"])["rouge1"] == 0.5
    assert rouge([""], [""]) == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}


def test_rouge_counts_words_and_chinese_characters():
    said, right = "the bidder bought eleven lots", "the bidder bought lots in April"
    scores = rouge([said], [right])
    assert scores["rouge1"] == pytest.approx(2 * 4 / 11) and scores["rouge2"] == pytest.approx(
        2 * 2 / 9
    )
    zh, reference = "拍卖会今天开始，价格上涨", "今天拍卖会的价格上涨了"
    a, b = [c for c in zh if c != "，"], list(reference)
    common = sum((Counter(a) & Counter(b)).values())
    scores = rouge([zh], [reference])
    assert scores["rouge1"] == pytest.approx(2 * common / (len(a) + len(b)))
    assert scores["rougeL"] == pytest.approx(2 * longest_common(a, b) / (len(a) + len(b)))
    from rouge_score.rouge_scorer import RougeScorer

    assert (
        RougeScorer(["rouge1"]).score(zh, zh)["rouge1"].fmeasure == 0
    )  # its own tokenizer drops them all
    assert rouge([zh], [zh])["rouge2"] == 1
    english = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(
        right, said
    )  # in English the two agree
    assert rouge([said], [right]) == pytest.approx(
        {kind: score.fmeasure for kind, score in english.items()}
    )


def test_recall_at_k_by_hand():
    ranked, relevant = [["a", "b", "c"], ["d", "e", "f"]], [["b"], ["d", "f"]]
    assert [recall_at_k(ranked, relevant, k) for k in (1, 2, 3)] == [
        pytest.approx(x) for x in (0.25, 0.75, 1.0)
    ]
    with pytest.raises(ValueError, match="relevant: got 'an empty list'"):
        recall_at_k(ranked, [["b"], []], 1)


def test_calibration_error_by_hand():
    # Two bins of five: confidences 0.55, 0.6 (one right of two) and 0.9, 0.95, 1.0 (all right).
    chances = [[0.55, 0.45], [0.4, 0.6], [0.9, 0.1], [0.05, 0.95], [1.0, 0.0]]
    targets = [0, 0, 0, 1, 0]
    expected = 2 / 5 * abs(1 / 2 - 0.575) + 3 / 5 * abs(1 - 0.95)
    assert expected_calibration_error(chances, targets, n_bins=4) == pytest.approx(expected)
    honest = np.tile([0.75, 0.25], (100, 1))
    assert expected_calibration_error(honest, [0] * 75 + [1] * 25) == pytest.approx(0)
    assert expected_calibration_error(honest, [1] * 100) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="probabilities: got"):
        expected_calibration_error([[2.0, 1.0]], [0])


def test_bleu_of_texts_shorter_than_four_words_is_0_as_its_docstring_says():
    assert bleu(["Zhongjian Plaza"], ["Zhongjian Plaza"]) == bleu(["你好"], ["你好"], "zh") == 0
    assert bleu(["one two three four"], ["one two three four"]) == pytest.approx(100)
    assert exact_match(["Zhongjian Plaza"], [["Zhongjian Plaza"]]) == 1
