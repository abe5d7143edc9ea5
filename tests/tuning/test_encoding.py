"""Encoding against transformers' own windows, the texts themselves, and bad input that must be
named."""

import warnings
from collections import Counter

import pytest
import torch

from moe_lib.text import load_task
from moe_lib.tuning import Examples, encode_choices, encode_questions, encode_texts, encode_words
from moe_lib.tuning.encoding import label_numbers

NAMES = ("bad", "good")
TEXTS = ["a good day", "价格上涨了", "bad", "it was <|end|> fine", "very good indeed"]
LABELS = ["good", "good", "bad", 1, 1]


@pytest.fixture(scope="module")
def encoded(tokenizer):
    return encode_texts(TEXTS, LABELS, tokenizer, label_names=NAMES)


def test_texts_and_labels_come_back(tokenizer, encoded):
    for row, text, label in zip(encoded.rows, TEXTS, LABELS, strict=True):
        assert row["input_ids"][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(row["input_ids"][:-1]) == text
        assert (
            tokenizer.eos_token_id not in row["input_ids"][:-1]
        )  # "<|end|>" in a text is plain characters
        assert NAMES[row["labels"]] == label or row["labels"] == label


def test_batches_are_a_pure_function_of_seed_and_step(encoded, tokenizer):
    batches, again = Examples(encoded, 2, seed=3), Examples(encoded, 2, seed=3)
    assert len(batches) == 3
    later = again.at(4)
    for step in range(6):
        batches.at(step)
    assert all(torch.equal(batches.at(4)[name], part) for name, part in later.items())
    for epoch in range(2):
        rows = [
            tuple(ids[mask.bool()].tolist())
            for step in range(3)
            for batch in [batches.at(3 * epoch + step)]
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        assert Counter(rows) == Counter(
            tuple(row["input_ids"]) for row in encoded.rows
        )  # each once an epoch
    orders = {tuple(Examples(encoded, 5, seed=seed).at(0)["labels"].tolist()) for seed in range(8)}
    assert len(orders) > 1
    batch = next(iter(batches))
    assert batch["input_ids"].shape[1] == max(len(row["input_ids"]) for row in encoded.rows[:2])
    assert (batch["input_ids"][batch["attention_mask"] == 0] == tokenizer.pad_token_id).all()
    assert torch.cat([part["labels"] for part in batches.in_order()]).tolist() == [1, 1, 0, 1, 1]


def test_one_warning_counts_the_texts_that_are_cut(tokenizer):
    texts = ["word " * n for n in (2, 50, 3, 60)]
    with pytest.warns(
        UserWarning, match="texts: 2 of 4 are longer than max_length=20 tokens"
    ) as caught:
        encoded = encode_texts(texts, None, tokenizer, max_length=20)
    assert len(caught) == 1 and encoded.n_cut == 2
    assert caught[0].filename == __file__  # points at the reader's own line
    assert max(len(row["input_ids"]) for row in encoded.rows) == 20
    assert all(row["input_ids"][-1] == tokenizer.eos_token_id for row in encoded.rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_texts(texts, None, tokenizer, max_length=200)


def test_bad_labels_and_texts_are_named(tokenizer):
    with pytest.raises(ValueError, match=r"labels\[1\]: got 'fine'; wants one of bad, good"):
        label_numbers(["bad", "fine"], NAMES, 2)
    with pytest.raises(ValueError, match=r"labels\[0\]: got 2; wants"):
        label_numbers([2], NAMES, 1)
    with pytest.raises(ValueError, match=r"labels\[1\]: got 0.7; wants"):
        label_numbers([1, 0.7], NAMES, 2)  # int(0.7) would be a label
    with pytest.raises(ValueError, match="labels: got 'no example of good'"):
        label_numbers(["bad"], NAMES, 1)
    assert label_numbers(["bad"], NAMES, 1, allow_empty=True) == [0]
    with pytest.raises(ValueError, match="labels: got '1 labels'; wants one per example .2."):
        encode_texts(["a", "b"], ["bad"], tokenizer, label_names=NAMES)
    with pytest.raises(ValueError, match=r"texts\[1\]: got ' '; wants a text that is not empty"):
        encode_texts(["a", " "], None, tokenizer)
    with pytest.raises(ValueError, match="label_names: got .'x', 'x'."):
        encode_texts(["a"], ["x"], tokenizer, label_names=["x", "x"])


def test_a_words_label_stands_at_its_first_token(tokenizer):
    sentences = [["Hadrian", "Volk", "bought", "unquestionably"], ["Prices", "fell"]]
    tags = [["N", "N", "O", "O"], ["O", "O"]]
    encoded = encode_words(sentences, tags, tokenizer, label_names=["O", "N"])
    for row, words, marks in zip(encoded.rows, sentences, tags, strict=True):
        assert tokenizer.decode(row["input_ids"]) == " ".join(words)
        starts = [place for place, label in enumerate(row["labels"]) if label != -100]
        assert ["ON"[row["labels"][place]] for place in starts] == marks
        pieces = [
            tokenizer.decode(row["input_ids"][a:b]).strip()
            for a, b in zip(starts, [*starts[1:], None], strict=True)
        ]
        assert pieces == words
    assert any(label == -100 for label in encoded.rows[0]["labels"])
    chinese = encode_words([["拍卖会", "开始"]], None, tokenizer, joiner="")
    assert tokenizer.decode(chinese.rows[0]["input_ids"]) == "拍卖会开始"
    with pytest.raises(ValueError, match=r"labels\[0\]: got '1 labels'; wants one per word .2."):
        encode_words([["a", "b"]], [["O"]], tokenizer, label_names=["O"])


def test_choices_keep_their_own_words_when_the_prompt_is_cut(tokenizer):
    with pytest.warns(UserWarning, match="prompts: 1 of 2") as caught:
        encoded = encode_choices(
            ["word " * 40, "short"],
            [["yes", "no at all"], ["a", "b", "c"]],
            [1, 2],
            tokenizer,
            max_length=16,
        )
    assert caught[0].filename == __file__
    for row, endings in zip(encoded.rows, (["yes", "no at all"], ["a", "b", "c"]), strict=True):
        for ids, ending in zip(row["choices"], endings, strict=True):
            assert len(ids) <= 16
            place = ids.index(tokenizer.sep_token_id)
            assert tokenizer.decode(ids[place + 1 : -1]) == ending
    batch = next(iter(Examples(encoded, 2)))
    assert batch["input_ids"].shape[:2] == (2, 3) and batch["choice_mask"].tolist() == [
        [1, 1, 0],
        [1, 1, 1],
    ]
    assert batch["attention_mask"][0, 2].sum() == 0 and batch["labels"].tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"answers\[0\]: got 2; wants 0 to 1"):
        encode_choices(["p"], [["a", "b"]], [2], tokenizer)
    with pytest.raises(ValueError, match=r"choices\[0\]: got \[\]"):
        encode_choices(["p"], [[]], None, tokenizer)
    with pytest.raises(ValueError, match="answers: got '2 answers'; wants one per prompt .1."):
        encode_choices(["p"], [["a", "b"]], [0, 1], tokenizer)


def test_windows_are_those_of_transformers(tokenizer):
    question, context = (
        "Who bought the lots?",
        "The bidder, Hadrian Volk, bought eleven of the lots. 价格上涨。 " * 6,
    )
    n_question = len(tokenizer(question)["input_ids"])
    ours = encode_questions([question], [context], None, tokenizer, max_length=40, stride=9)
    theirs = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=40 - 2,
        stride=9,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert len(ours) == len(theirs["input_ids"]) > 3
    for row, ids, places in zip(
        ours.rows, theirs["input_ids"], theirs["offset_mapping"], strict=True
    ):
        inside = slice(n_question + 1, -1)
        assert row["input_ids"][inside] == ids[n_question:] and row["context_mask"][inside] == [
            1
        ] * len(ids[n_question:])
        assert (
            sum(row["context_mask"]) == len(ids) - n_question
        )  # neither question, separator nor end token
        for (start, end), (first, last) in zip(
            row["offsets"][inside], places[n_question:], strict=True
        ):
            assert context[start:end] == context[first:last].lstrip() and end == last


def test_answers_are_found_again_from_their_tokens(tokenizer):
    task = load_task("qa_spans", split="validation")
    columns = [list(task[name]) for name in ("question", "context", "answers")]
    encoded = encode_questions(*columns, tokenizer, max_length=96, stride=32)
    assert len(encoded) > 1.5 * len(task)
    whole = set()
    for row in encoded.rows:
        start, end = row["labels"]
        answer = task[row["example"]]["answers"]["text"]
        if start >= 0:
            assert row["context_mask"][start] == row["context_mask"][end] == 1
            context = encoded.contexts[row["example"]]
            assert context[row["offsets"][start][0] : row["offsets"][end][1]] == answer[0]
            whole.add(row["example"])
    # The stride is longer than any answer: each one is whole in some window, and questions without
    # one have none.
    assert whole == {index for index, answer in enumerate(columns[2]) if answer["text"]}
    assert any(row["labels"] == [-1, -1] and row["example"] in whole for row in encoded.rows)


def test_spans_that_point_nowhere_are_named(tokenizer):
    context = "The auction opened at 31 dinars."
    for text, start in (("31", 5), ("32", 22), ("dinars.", 900), ("31", -10), ("", 3)):
        with pytest.raises(
            ValueError, match=r"answers\[1\]: got .* where the passage has .*in its passage"
        ):
            encode_questions(
                ["At what?"] * 2,
                [context] * 2,
                [{"text": ["31"], "answer_start": [22]}, {"text": [text], "answer_start": [start]}],
                tokenizer,
            )
    with pytest.raises(ValueError, match=r"questions\[0\]: got '.*tokens'; wants at most 5"):
        encode_questions(
            ["What was it that they were selling there on that day?"],
            [context],
            None,
            tokenizer,
            max_length=16,
            stride=8,
        )
    with pytest.raises(ValueError, match="answers: got 1; wants one per question .2."):
        encode_questions(
            ["At what?"] * 2, [context] * 2, [{"text": [], "answer_start": []}], tokenizer
        )


def test_an_answer_in_chinese_whose_characters_are_split_into_bytes(tokenizer):
    context = "拍卖会上，赫德里安买下了饕餮纹的鼎。"
    answer = "饕餮纹的鼎"
    answers = [{"text": [answer], "answer_start": [context.index(answer)]}]
    encoded = encode_questions(["他买了什么？"], [context], answers, tokenizer)
    (row,) = encoded.rows
    start, end = row["labels"]
    assert end - start + 1 > len(answer)  # more tokens than characters
    assert context[row["offsets"][start][0] : row["offsets"][end][1]] == answer


def test_selecting_keeps_rows_and_names(encoded):
    part = encoded.select([3, 0])
    assert [row["labels"] for row in part.rows] == [1, 1] and part.label_names == NAMES
    with pytest.raises(ValueError, match="encoded: got 'no rows'"):
        Examples(encoded.select([]), 2)
    with pytest.raises(ValueError, match="batch_size: got 0"):
        Examples(encoded, 0)
