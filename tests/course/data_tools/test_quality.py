"""Distinct n-grams and near copies against hand-worked numbers; the course's written corpora
against both."""

import json
import re
import runpy
import shutil
import sys
from fractions import Fraction

import pytest

from moe_course.data_tools.quality import (
    distinct_ngram_ratio,
    first_words,
    near_duplicate_share,
    report,
    words,
)
from moe_lib.paths import DATA

CORPORA = DATA / "corpora"
WRITTEN = ("arithmetic", "chinese", "customer_service", "market_news", "science_notes", "stories")


def corpus_rows(name):
    lines = (CORPORA / name / "documents.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def test_words_of_english_and_chinese():
    assert words("Don't stop: 3.5 km!") == ["don't", "stop", "3", "5", "km"]
    assert words("他说：OK，走吧。") == ["他", "说", "ok", "走", "吧"]


def test_distinct_ngrams_by_hand():
    texts = ["a b a b", "a b c"]
    # a b a b a b c: 3 of 7; ab ba ab ab bc: 3 of 5, none across the border; aba bab abc: 3 of 3
    assert distinct_ngram_ratio(texts, 1) == pytest.approx(3 / 7)
    assert distinct_ngram_ratio(texts, 2) == pytest.approx(3 / 5)
    assert distinct_ngram_ratio(texts, 3) == 1


def test_near_copies_by_hand():
    first = "one two three four five six seven eight"  # four shingles of five words
    changed = "one two three four five six seven nine"  # shares three of them: 3 / 5
    other = "ten eleven twelve thirteen fourteen fifteen"
    assert near_duplicate_share([first, changed, other], threshold=0.59) == pytest.approx(2 / 3)
    assert near_duplicate_share([first, changed, other], threshold=0.6) == 0  # above, not equal
    assert near_duplicate_share([first, first.upper() + "!"], threshold=0.99) == 1


def test_near_copies_in_chinese_are_by_character():
    # six and seven characters: two and three shingles, two shared
    assert near_duplicate_share(["老宋修了四十", "老宋修了四十年"], threshold=0.6) == 1


def test_copies_shorter_than_a_shingle_are_found():
    assert near_duplicate_share(["Gone fishing.", "gone fishing", "back soon"]) == pytest.approx(
        2 / 3
    )


def test_first_words_cuts_the_last_text():
    assert first_words(["One two.", "Three four five"], 4) == ["one two", "three four"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distinct_ngram_ratio(["a b"], 0), "n: got 0"),
        (lambda: distinct_ngram_ratio(["a b"], 3), "texts: got 1 texts without 3 words"),
        (lambda: near_duplicate_share([]), "texts: got []"),
        (lambda: near_duplicate_share(["a"], threshold=1), "threshold: got 1"),
        (lambda: near_duplicate_share(["a"], shingle_size=0), "shingle_size: got 0"),
        (lambda: first_words(["a b"], 0), "count: got 0"),
        (lambda: first_words(["a b"], 3), "count: got 3; wants at most 2"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("name", WRITTEN)
def test_written_corpus(name):
    rows = corpus_rows(name)
    texts = [row["text"] for row in rows]
    assert sum(len(text.encode()) for text in texts) >= 42_000
    prefix = name.replace("_", "-")
    assert [row["id"] for row in rows] == [f"{prefix}-{i:03d}" for i in range(1, len(rows) + 1)]
    assert {row["domain"] for row in rows} == {name}
    assert near_duplicate_share(texts) == 0
    assert not any("\ufffd" in text or text != text.strip() for text in texts)


def test_the_card_shows_the_measured_table():
    def own_numbers(table):  # the reference texts differ from one Python version to the next
        return re.sub(r" / \d\.\d+", "", table)

    card = (CORPORA / "README.md").read_text(encoding="utf-8")
    assert own_numbers(report(CORPORA)) in own_numbers(card)


def test_report_of_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="has no folder with a documents.jsonl"):
        report(tmp_path)


def test_every_equation_of_the_arithmetic_holds():
    number = r"\(?\d+(?:\.\d+)?\)?"
    side = rf"{number}(?: [+\-×÷] {number})*"
    equation = re.compile(rf"({side}) = ({side})")

    def value(expression):
        exact = re.sub(r"(\d+(?:\.\d+)?)", r"Fraction('\1')", expression)
        return eval(exact.replace("×", "*").replace("÷", "/"), {"Fraction": Fraction})

    for row in corpus_rows("arithmetic"):
        found = equation.findall(row["text"])
        assert len(found) == row["text"].count("="), row[
            "id"
        ]  # none is written in a way the test misses
        for left, right in found:
            assert value(left) == value(right), (row["id"], left, right)


def test_arithmetic_is_reproducible(tmp_path, monkeypatch):
    for script in CORPORA.glob("*.py"):
        shutil.copy(script, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path(str(tmp_path / "make_arithmetic.py"), run_name="__main__")
    for module in ("arithmetic_numbers", "arithmetic_stories"):
        sys.modules.pop(module)
    made = (tmp_path / "arithmetic" / "documents.jsonl").read_bytes()
    assert made == (CORPORA / "arithmetic" / "documents.jsonl").read_bytes()
