"""The study of an encoder that reads: its texts, floors, choice of a rate, intervals."""

import json

import numpy as np
import pytest
import torch

from moe_course.studies import encoder_study
from moe_course.studies.encoder_study import (
    FOUR,
    best_rate,
    bootstrap,
    floor,
    right_of,
    sentence_vectors,
    task_texts,
    tuned,
)
from moe_lib.fetching import fetched
from moe_lib.opening import open_model

needs_minilm = pytest.mark.skipif(
    fetched("minilm") is None, reason="minilm was not fetched: course.py models"
)


def test_texts_are_english_and_labels_are_those_of_the_files():
    every, four = task_texts("intents"), task_texts("four intents")
    for split, (texts, labels) in every.items():
        assert len(texts) == len(labels) and labels.max() == 12
        assert not any("\u4e00" <= sign <= "\u9fff" for text in texts for sign in text)
        assert set(four[split][0]) <= set(texts)
    path = encoder_study.STUDY.parents[1] / "tasks" / "support_intent" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = {row["text"]: row["intent"] for row in rows}
    texts, labels = four["test"]
    assert [FOUR[at] for at in labels] == [wanted[text] for text in texts]


def test_floors_are_what_they_are_called():
    texts = task_texts("four intents")
    counts = np.bincount(texts["test"][1])
    assert floor("chance", "four intents", 0)["test"] == 1 / 4
    often = np.bincount(texts["train"][1]).argmax()
    majority = floor("majority", "four intents", 0)
    assert majority["test"] == pytest.approx(counts[often] / counts.sum())
    assert majority["right"] == "".join(str(int(at == often)) for at in texts["test"][1])
    assert majority["test"] < 0.5 < floor("TF-IDF", "four intents", 0)["test"]


@pytest.mark.parametrize("peak", (1e-4, 2e-4, 3.2e-3, 1.25e-5))
def test_the_best_rate_has_a_slower_and_a_faster_one_beside_it(peak):
    best, tried = best_rate(lambda rate: -abs(np.log2(rate / peak)))
    assert best == pytest.approx(peak) and min(tried) < best < max(tried)
    assert tried == dict(sorted(tried.items())) and len(tried) <= 9


def test_of_equal_rates_the_slower_counts_and_the_search_ends():
    best, tried = best_rate(lambda rate: 0.5)
    assert best == min(tried) and len(tried) == 12


def test_the_bootstrap_draws_seeds_and_texts():
    generator = np.random.default_rng(1)
    hard = generator.random(400)  # the texts differ in how hard they are
    right, other = (generator.random((20, 400)) < at for at in (hard * 0.9, hard * 0.9))
    low, mean, high = bootstrap(right, other)
    assert low < 0 < high and mean == pytest.approx(right.mean() - other.mean())
    few_low, _, few_high = bootstrap(right[:, :40], other[:, :40])
    assert few_high - few_low > 1.8 * (high - low)  # ten times fewer texts: about 3 times as wide
    assert bootstrap(right, right[:1] * 0) > (0.3,)


def test_what_is_right_is_found_by_task_and_case():
    rows = [{"task": "a", "case": "x", "right": "011"}, {"task": "b", "case": "x", "right": "1"}]
    assert right_of(rows, "a", "x").tolist() == [[0, 1, 1]]


@needs_minilm
def test_sentence_vectors_do_not_depend_on_the_texts_beside_them():
    model, tokenizer = open_model("minilm")
    texts = ["a much longer text than the others are", "short", "of medium length"]
    vectors = sentence_vectors(model, tokenizer, texts)
    for text, vector in zip(texts, vectors, strict=True):
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            alone = model(**batch).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, alone.numpy(), atol=1e-4)


@needs_minilm
@pytest.mark.parametrize("case", encoder_study.TUNED)
def test_a_run_says_what_it_cost(case, monkeypatch):
    def short(task):  # eight texts of each split, all three classes among them
        found = {}
        for split, (texts, labels) in task_texts(task).items():
            places = [*(int((labels == at).argmax()) for at in range(3)), *range(10, 15)]
            found[split] = [texts[place] for place in places], labels[places]
        return found

    monkeypatch.setattr(encoder_study, "task_texts", short)
    found = tuned(case, "sentiment", 1e-4, 0, steps=2)
    dense = sum(p.numel() for p in open_model("minilm")[0].parameters())
    head = (384 + 1) * len({label for _, at in short("sentiment").values() for label in at})
    feed_forward = 6 * (2 * 384 * 1536 + 1536 + 384)
    more = 7 * feed_forward + 6 * 8 * 384 if case == "MoE" else 0
    assert found["parameters"] == dense + head + more and found["steps"] == 2
    assert found["training_bytes"] == 16 * found["parameters"]
    assert len(found["right"]) == 8 and found["test"] == found["right"].count("1") / 8
