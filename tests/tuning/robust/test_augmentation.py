"""Augmentation: what may change and what may not, by seed; back-translation with translators of
known answers."""

import random
from collections import Counter

import pytest

from moe_lib.paths import DATA
from moe_lib.text import load_task, load_tokenizer
from moe_lib.tuning import Encoded, encode_texts
from moe_lib.tuning.robust import (
    Augment,
    InTurn,
    Synonyms,
    WordDropout,
    augment_rows,
    augment_texts,
    back_translate,
    load_synonyms,
    words_of_labels,
)
from moe_lib.tuning.robust.augmentation import NEGATIONS, is_negation, pieces_of

TABLE = {
    "big": ("large",),
    "cancel": ("stop",),
    "fast": ("quick", "rapid"),
    "快递": ("包裹",),
    "没": ("有",),
    "快递员": ("送货员",),
    "link": ("address",),
}


def changed(change, text, seed=0):
    return change(text, random.Random(seed))


@pytest.fixture(scope="module")
def messages():
    return load_task("support_intent", split="validation")


def test_words_of_the_table_and_only_they_are_replaced():
    every = Synonyms(1.0, table=TABLE)
    assert changed(every, "A big, BIG dog. Bigger! big's") == "A large, Large dog. Bigger! big's"
    assert (
        changed(every, "快递员把快递送到了，没？") == "送货员把包裹送到了，没？"
    )  # 没 is a negation
    assert changed(Synonyms(0.0, table=TABLE), "big fast") == "big fast"
    assert {changed(every, "fast", seed) for seed in range(20)} == {"quick", "rapid"}
    share = (
        sum(changed(Synonyms(0.3, table=TABLE), "big", seed) == "large" for seed in range(600))
        / 600
    )
    assert 0.22 < share < 0.38


def test_words_of_the_labels_are_neither_replaced_nor_brought_in():
    protect = words_of_labels(["cancel_order", "change_address"])
    assert protect == {"cancel", "order", "change", "address"}
    assert changed(Synonyms(1.0, table=TABLE), "cancel the link") == "stop the address"
    assert changed(Synonyms(1.0, protect, TABLE), "cancel the link") == "cancel the link"


def test_negations_always_stay(messages):
    heavy = InTurn([Synonyms(1.0), WordDropout(0.9)])
    found = 0
    for number, text in enumerate(messages["text"]):
        before = Counter(piece.lower() for piece in pieces_of(text) if is_negation(piece))
        after = Counter(
            piece.lower() for piece in pieces_of(changed(heavy, text, number)) if is_negation(piece)
        )
        assert before == after, text
        found += sum(before.values())
    assert found > 50  # there were some
    assert is_negation("Don't") and is_negation("isn’t") and not is_negation("note")
    assert changed(WordDropout(0.99), "we do not want it", 1) == "not"


def test_word_dropout_drops_its_share_and_never_everything():
    text = " ".join(f"word{chr(97 + i % 26)}" for i in range(400))
    left = len(changed(WordDropout(0.25), text).split())
    assert 260 < left < 340
    assert (
        changed(WordDropout(0.0), "a  b") == "a b"
        and changed(WordDropout(0.99), "only these", 3) == "only these"
    )
    assert set(changed(WordDropout(0.5), "快递到了吗", 2)) < set("快递到了吗")
    assert changed(WordDropout(0.9, {"keep"}), "keep me here now", 5).split()[0] == "keep"


def test_the_same_seed_gives_the_same_text_in_any_company(messages):
    texts, change = messages["text"][:40], InTurn([Synonyms(0.5), WordDropout(0.2)])
    one = augment_texts(texts, change, seed=3)
    assert one == augment_texts(texts, change, seed=3) != augment_texts(texts, change, seed=4)
    assert augment_texts(texts[:5], change, seed=3) == one[:5]
    assert sum(a != b for a, b in zip(texts, one, strict=True)) > 20
    assert all("".join(pieces_of(text)) == text for text in texts)


def test_the_courses_table():
    table = load_synonyms()
    every = [*table, *(other for others in table.values() for other in others)]
    assert len(table) > 200 and not any(
        is_negation(piece) for word in every for piece in pieces_of(word)
    )
    for word, others in table.items():
        assert len(set(others)) == len(others) and word.isascii() == all(
            other.isascii() for other in others
        )
        assert word == word.lower() and (word.isascii() or len(word) > 1)
    assert not NEGATIONS & set(table) and (DATA / "synonyms" / "README.md").is_file()


def test_back_translation_keeps_what_came_back_empty_or_the_same_and_counts_it():
    there = {"good day": "hao", "same": "ming", "lost": "", "blank": "bai"}
    back = {"hao": "fine day", "ming": "same", "bai": "  "}
    asked = []

    def home(text):
        asked.append(text)
        return back[text]

    found = back_translate(list(there), there.__getitem__, home)
    assert found.texts == ["fine day", "same", "lost", "blank"]
    assert (found.changed, found.unchanged, found.empty) == (1, 1, 2)
    assert asked == ["hao", "ming", "bai"]  # nothing is asked about an empty text
    with pytest.raises(
        TypeError, match="there: got 'NoneType'; wants a function from text to text"
    ):
        back_translate(["a"], lambda text: None, home)


def test_rows_are_changed_and_keep_their_labels():
    tokenizer = load_tokenizer("mixture")
    texts, names = ["a big dog", "cancel it fast", "快递到了"], ("animal", "cancel_order", "parcel")
    rows = encode_texts(texts, [0, 1, 2], tokenizer, label_names=names)
    more = augment_rows(
        rows, tokenizer, Synonyms(1.0, words_of_labels(names), TABLE), copies=2, seed=1
    )
    assert more.rows[:3] == rows.rows and len(more) == 9 and more.label_names == names
    assert [row["labels"] for row in more.rows] == [0, 1, 2] * 3
    said = [tokenizer.decode(row["input_ids"][:-1]) for row in more.rows[3:]]
    assert said[0] == said[3] == "a large dog" and said[2] == "包裹到了"
    assert {said[1], said[4]} <= {"cancel it quick", "cancel it rapid"}
    assert all(row["input_ids"][-1] == tokenizer.eos_token_id for row in more.rows)
    alone = augment_rows(
        Encoded([{"input_ids": row["input_ids"]} for row in rows.rows], rows.pad_token_id),
        tokenizer,
        Synonyms(1.0, table=TABLE),
        keep=False,
    )
    assert len(alone) == 3 and "labels" not in alone.rows[0]
    with pytest.raises(ValueError, match="encoded: got 'rows with input_ids, labels'"):
        augment_rows(Encoded([{"input_ids": [5], "labels": [1]}], 0), tokenizer, WordDropout())
    prepare = Augment(tokenizer, copies=1)
    assert prepare(rows, 2).rows == prepare(rows, 2).rows and "0x" not in repr(prepare)


def test_bad_shares_are_named():
    for make, message in (
        (lambda: Synonyms(1.5), "share: got 1.5"),
        (lambda: WordDropout(1.0), "share: got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="seed: got 'x'"):
        augment_texts(["a"], WordDropout(), seed="x")
