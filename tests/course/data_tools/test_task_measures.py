"""Measures against hand-worked numbers, and the cards against the measures."""

import re

import pytest

from moe_course.data_tools.measure_tasks import main, measure
from moe_course.data_tools.task_measures import (
    best_sentences,
    cross_duplicates,
    normalised,
    retrieval_recall,
    sentences,
)
from moe_lib.paths import DATA


def card(name):
    return (DATA / "tasks" / name / "README.md").read_text(encoding="utf-8")


def test_duplicates_across_splits_only():
    assert normalised("  Ｈello,\tWORLD!! ") == "hello world"
    splits = {
        "train": ["Hello, world!", "hello world", "abcd"],
        "test": ["HELLO world", "abcde", "other words"],
    }
    found = cross_duplicates(splits)
    assert (
        found["equal"] == 2
    )  # each of the two in train with the one in test; those in train are on one side
    # abcd has abc, bcd; abcde has these and cde: 2 of 3, below the limit of 0.7.
    assert found["near"] == 2 and found["highest"] == 1.0
    found = cross_duplicates({"train": ["abcd", "zzz"], "test": ["abcde"]})
    assert found == {
        "equal": 0,
        "near": 0,
        "highest": pytest.approx(2 / 3),
        "pair": ("abcd", "abcde"),
    }
    # "hello world again" has 15 3-grams, without its last letter 14.
    assert cross_duplicates({"a": ["hello world again"], "b": ["hello world agai"]})["near"] == 1


def test_sentences_and_their_offsets():
    text = 'He said "Stop." Then 2.5 hours passed! Was it late? Yes.'
    found = sentences(text)
    assert [sentence for _, sentence in found] == [
        'He said "Stop."',
        "Then 2.5 hours passed!",
        "Was it late?",
        "Yes.",
    ]
    assert all(text.startswith(sentence, start) for start, sentence in found)


def test_baselines_on_tiny_examples():
    context = "The mill is old. The bridge is made of stone."
    assert best_sentences([context], ["Which stone bridge?"], [context]) == [
        (17, "The bridge is made of stone.")
    ]
    products = ["red lamp", "blue chair", "green chair"]
    wanted = [{0}, {1, 2}, {2}]
    assert retrieval_recall(products, ["a red lamp", "chair", "台灯"], wanted, 1) == pytest.approx(
        (1 + 0.5 + 0) / 3
    )
    assert retrieval_recall(products, ["a red lamp", "chair", "台灯"], wanted, 2) == pytest.approx(
        (1 + 1 + 0) / 3
    )


@pytest.mark.parametrize(
    "name", [pytest.param("support_intent", marks=pytest.mark.slow), "market_sentiment"]
)
def test_classified_sets_are_neither_trivial_nor_hopeless_and_cards_say_so(name):
    found, text = measure(name), card(name)
    for kind in ("characters", "words"):
        said = re.search(
            rf"^\| TF-IDF of {kind} \+ logistic regression \| ([\d.]+) \|", text, re.MULTILINE
        )
        assert found[f"TF-IDF of {kind}, accuracy on test"] == pytest.approx(
            float(said[1]), abs=0.01
        )
    assert 0.60 <= found["TF-IDF of characters, accuracy on test"] <= 0.92
    majority = re.search(r"^\| majority label .*?\| ([\d.]+) \|", text, re.MULTILINE)
    measured = next(value for key, value in found.items() if key.startswith("majority label"))
    assert measured == pytest.approx(float(majority[1]), abs=0.001) and measured < 0.4
    assert found["second labelling, rows"] == 100
    assert f"{found['second labelling, agreement'] * 100:.0f} of 100 agree" in text.replace(
        "\n", " "
    )
    assert f"kappa {found['second labelling, Cohen' + chr(39) + 's kappa']:.2f}" in text.replace(
        "\n", " "
    )
    assert found["text: equal across splits"] == found["text: near copies across splits"] == 0
    assert f"The highest is {found['text: highest similarity']:.2f}" in text.replace("\n", " ")


def test_the_other_cards_say_what_is_measured():
    qa, text = measure("qa_spans"), card("qa_spans").replace("\n", " ")
    assert qa["unanswerable, share of all"] == 0.2
    assert f"in {qa['TF-IDF sentence holds the answer, all'] * 100:.0f} % of all answerable" in text
    assert (
        f"in {qa['TF-IDF sentence holds the answer, test'] * 100:.0f} % of those in test"
        in " ".join(text.split())
    )
    summaries = measure("summaries")
    lead = [f"{summaries[f'first sentence on test, rouge{kind}'] * 100:.1f}" for kind in "12L"]
    assert f"| first sentence (lead) | {' | '.join(lead)} |" in card("summaries")
    translation, text = measure("translation_en_zh"), card("translation_en_zh")
    assert translation["frames in more than one split"] == 0 and translation["frames"] == 80
    for split in ("validation", "test_combinations", "test_free"):
        row = re.search(rf"^\| {split} \| ([\d.]+) % of \d+ \| ([\d.]+) % of", text, re.MULTILINE)
        for code, said in zip(("en", "zh"), row.groups(), strict=True):
            assert translation[f"{code} types of {split} seen in train"] * 100 == pytest.approx(
                float(said), abs=0.051
            )
    catalogue = measure("catalogue")
    recalls = " | ".join(f"{catalogue[f'TF-IDF recall@{k} on test']:.3f}" for k in (1, 5))
    assert f"| 104, all | {recalls} |" in card("catalogue")
    for found in (qa, summaries, translation, catalogue):
        assert not any(value for key, value in found.items() if key.endswith("across splits"))


def test_the_command(capsys):
    main(["summaries"])
    assert "summaries\n  rows, train: 171\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="NAME: got 'nothing'; wants one of catalogue, market"):
        main(["summaries", "nothing"])
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="name: got 'nothing'; wants one of catalogue"):
        measure("nothing")
