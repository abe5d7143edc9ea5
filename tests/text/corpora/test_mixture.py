"""The mixture: written documents count several times, and its tokenizer keeps Chinese words in
fewer pieces."""

import pytest

from moe_lib.text import SPECIAL_TOKENS, load_corpus, load_task, load_tokenizer
from moe_lib.text.corpora.mixture import mixture_texts, repeat_written
from moe_lib.text.tokenizer_training import main


def test_written_documents_stand_several_times_and_python_once():
    before = load_corpus("mixture", split="train", limit=3)
    after = repeat_written(before, 4)
    written = [
        text
        for text, domain in zip(before["text"], before["domain"], strict=True)
        if "python" not in domain
    ]
    others = [
        text
        for text, domain in zip(before["text"], before["domain"], strict=True)
        if "python" in domain
    ]
    assert written and others
    texts = list(after["text"])
    assert all(texts.count(text) == 4 for text in written) and all(
        texts.count(text) == 1 for text in others
    )
    assert len(texts) == len(others) + 4 * len(written)
    assert list(repeat_written(before, 1)["text"]) == list(before["text"])


@pytest.mark.parametrize("times", [0, -1, 1.5, True])
def test_times_must_be_a_whole_number(times):
    with pytest.raises((ValueError, TypeError), match="times"):
        repeat_written(load_corpus("arithmetic", split="train"), times)


def test_nothing_held_out_is_learned_from():
    learned = set(mixture_texts())
    held_out = list(load_corpus("mixture", split="heldout")["text"])
    for side in ("validation", "test"):
        held_out += list(load_task("support_intent")[side]["text"])
    assert not learned & set(held_out)


def test_the_shipped_tokenizer_is_the_courses_kind_with_more_tokens_for_chinese():
    course, mixture = load_tokenizer("course"), load_tokenizer("mixture")
    assert len(mixture) == 6144
    assert mixture.convert_ids_to_tokens(list(range(16))) == list(SPECIAL_TOKENS)
    assert len(mixture("1024").input_ids) == 4
    for domain, most in (("chinese", 0.6), ("stories", 0.95), ("python_code", 1.0)):
        text = "".join(load_corpus(domain, split="heldout", limit=200)["text"])
        ids = mixture(text, split_special_tokens=True, verbose=False).input_ids
        assert mixture.decode(ids) == text
        assert len(ids) < most * len(
            course(text, split_special_tokens=True, verbose=False).input_ids
        )


def test_the_small_tokenizer_begins_as_the_large_one():
    """Byte-pair encoding merges the most frequent pair first, so that fewer tokens are the first of
    more tokens."""
    small, large = load_tokenizer("mixture-small"), load_tokenizer("mixture")
    assert len(small) == 1024
    assert small.convert_ids_to_tokens(list(range(1024))) == large.convert_ids_to_tokens(
        list(range(1024))
    )
    text = "def read(path):  # 你好"
    assert small.decode(small(text).input_ids) == text


def test_the_command_writes_a_tokenizer(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "moe_lib.text.tokenizer_training.mixture_texts", lambda: ["ab ab ab abc 你好 你好"]
    )
    main(["mixture", "--out", str(tmp_path)])
    assert "learned from 1 texts" in capsys.readouterr().out
    assert " 你好" in [
        load_tokenizer(tmp_path).decode([token]) for token in range(len(load_tokenizer(tmp_path)))
    ]
