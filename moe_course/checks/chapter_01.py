"""Checks of the exercises of chapter 01: byte-pair encoding and splitting."""

import json
import random
import sys
from collections import Counter
from contextlib import contextmanager

import torch

from moe_course.checks.clean_split import expect_clean_split
from moe_course.checks.comparisons import NotYet, expect_answer, expect_equal, expect_true
from moe_lib.views.token_view.widget import BYTE_OF

_STEPS = 500_000  # bytecodes; far more than an answer to these small inputs needs


@contextmanager
def _ends(what):
    """Stop the learner's code with a message when it has run far more steps than it could need."""
    before, left = sys.gettrace(), _STEPS

    def count(frame, event, argument):
        nonlocal left
        frame.f_trace_opcodes = True  # `while True: pass` on one line makes no further line events
        if event == "opcode":
            left -= 1
        if left < 0:
            raise NotYet(
                f"{what}: your loop does not end. What changes in each round, so that it must stop?"
            )
        return count

    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


def _call(function, *arguments, what):
    with _ends(what):
        answer = function(*arguments)
    return expect_answer(answer, what)


def check_merge_step(merge_step):
    by_hand = [
        ([1, 2, 1, 2, 3], 9, ([9, 9, 3], (1, 2)), "(1, 2) occurs twice, (2, 1) and (2, 3) once"),
        ([7, 7, 7, 4], 9, ([9, 7, 4], (7, 7)), "(7, 7) occurs twice, overlaps count; (7, 4) once"),
        (
            [3, 1, 1, 3],
            9,
            ([3, 9, 3], (1, 1)),
            "(3, 1), (1, 1) and (1, 3) each occur once; the smallest is (1, 1)",
        ),
    ]
    for ids, new_id, (merged, pair), why in by_hand:
        what, given = f"merge_step({ids}, {new_id})", list(ids)
        answer = _call(merge_step, given, new_id, what=what)
        two = isinstance(answer, tuple) and len(answer) == 2
        expect_true(
            not (two and isinstance(answer[0], tuple) and isinstance(answer[1], list)),
            f"{what} gave {answer!r}: the pair first. Return the new list first, then the pair.",
        )
        expect_true(
            two and isinstance(answer[1], tuple),
            f"{what} should return a list and a pair, (new_ids, pair); got {answer!r}.",
        )
        expect_true(
            given == ids,
            f"{what} changed the list it was given, to {given}. Make a new list instead.",
        )
        expect_true(answer[1] == pair, f"In {ids} {why}; you gave {answer[1]}.")
        expect_equal(
            answer[0],
            merged,
            f"the ids of {what}",
            hints={
                f"you gave {answer[0]}, want {merged}: a token was merged twice. After a "
                "merge, go on two places further": lambda got, wrong=([9, 9, 4], [9, 2, 9, 2, 3]): (
                    got in wrong
                ),
                f"the pair was merged in one place only, want {merged}: replace it everywhere": [
                    9,
                    1,
                    2,
                    3,
                ],
                f"the ids are unchanged, want {merged}: did you return the old list?": ids,
                f"you gave {answer[0]}, want {merged}: it was merged from right to left": [7, 9, 4],
            },
        )
    draw = random.Random(0)
    for turn in range(50):
        # Ids of one digit, of two, and both: 1 and 12 written one after the other is not 11 and 2.
        known = (range(4), range(10, 14), (1, 2, 11, 12, 21, 112))[turn % 3]
        ids = [draw.choice(known) for _ in range(draw.randint(2, 40))]
        pairs = Counter(zip(ids, ids[1:], strict=False))
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        # str.replace works from left to right and never uses a letter twice: the merge, done by
        # Python itself.
        text = "".join(chr(65 + i) for i in ids).replace("".join(chr(65 + i) for i in pair), "z")
        merged = [9 if letter == "z" else ord(letter) - 65 for letter in text]
        answer = _call(merge_step, list(ids), 9, what=f"merge_step({ids}, 9)")
        counts = (
            f"{pair} occurs {pairs[pair]} times, {answer[1]}, which you gave, "
            f"{pairs.get(answer[1], 0)} times"
        )
        expect_true(
            answer[1] == pair, f"In {ids} {counts}. Of equally frequent ones the smallest wins."
        )
        expect_equal(
            answer[0],
            merged,
            f"the ids of merge_step({ids}, 9)",
            hints={
                "too much was merged: one step merges one pair, and goes through the list once": (
                    lambda got, right=merged: len(got) < len(right)
                )
            },
        )
    return "Counts, ties and repeated tokens are right, on 50 random lists too."


def check_decode_bytes(decode_bytes):
    def decoded(ids, merges, hints=None):
        what, given, known = f"decode_bytes({ids}, {merges})", list(ids), dict(merges)
        try:
            answer = _call(decode_bytes, given, known, what=what)
        except UnicodeDecodeError as error:
            raise NotYet(
                f"{what} holds half a character: {error}. `bytes.decode` can replace instead."
            ) from None
        except ValueError as error:
            if "range(0, 256)" not in str(error):
                raise
            raise NotYet(
                f"{what}: an id of 256 or more was taken for a byte. It stands for two older ids, "
                "and these may be merges themselves: when have you reached the bytes?"
            ) from None
        expect_true(
            given == ids and known == merges,
            f"{what} changed its arguments. Make a new list instead.",
        )
        expected = library_decode(ids, merges)
        expect_equal(
            answer, expected, what if len(what) < 120 else f"the text of {ids[:6]}…", hints=hints
        )

    def library_decode(ids, merges):
        # By `tokenizers`, which spells out every id and decodes in Rust. BYTE_OF: sign -> byte.
        from tokenizers import decoders

        spelt = {byte: sign for sign, byte in BYTE_OF.items()}
        for (left, right), new_id in sorted(merges.items(), key=lambda item: item[1]):
            spelt[new_id] = spelt[left] + spelt[right]
        return decoders.ByteLevel().decode([spelt[number] for number in ids])

    decoded([104, 105], {}, {"these are the bytes; want a text": b"hi"})
    nested = {(104, 105): 256, (256, 32): 257, (257, 256): 258}
    decoded(
        [258, 33],
        nested,
        {
            "ids from 256 on were left out: each stands for two older ids": "!",
            "the id was not a character's code point but a merge: look it up": chr(258) + "!",
            "left and right were exchanged: the left part comes first": "ih ih!",
        },
    )
    decoded(
        [195, 169],
        {},
        {
            "each id was decoded by itself; é has two bytes, so join all "
            "bytes first": "\ufffd\ufffd",
            "the ids are bytes of UTF-8, not code points of characters": "Ã©",
        },
    )
    across = {
        (228, 184): 256,
        (173, 230): 257,
    }  # the second merge holds the end of 中 and the start of 文
    decoded(
        [256, 257, 150, 135],
        across,
        {
            "each id was decoded by itself; a character may be spread over ids, so join all "
            "bytes first": lambda text: "\ufffd" in text
        },
    )
    decoded(
        [104, 105, 228, 184],
        {},
        {
            "half a character was dropped in silence; it should show as the sign \ufffd": "hi",
            "half a character should show as the sign \ufffd, not as the numbers of its bytes": (
                lambda text: "\\x" in text
            ),
            "half a character should show as the sign \ufffd; this text cannot even be printed": (
                lambda text: any("\ud800" <= sign < "\ue000" for sign in text)
            ),
        },
    )
    decoded([], {})
    merges, library = _library_bytes()
    draw = random.Random(0)
    for text in ["the cat sat on the mat", "zebra über naïve", "分词器分词", "ok 🙂🙂 done"]:
        ids = library(text)
        decoded(ids, merges)
        for _ in range(5):  # cut anywhere, as a model that stops early does
            start = draw.randrange(len(ids))
            decoded(ids[start : start + draw.randint(1, 8)], merges)
    return "Equal to the library's decoding, halves of characters included."


def _library_bytes():
    """A small byte-level BPE by `tokenizers`: merges {(left, right): new_id}, and a function text
    -> our ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    texts = [
        "the cat sat on the mat with the other cat",
        "分词器把文字分成词",
        "🙂🙂🙃 ok",
        "naïve über übung",
    ]
    library.train_from_iterator(texts, trainer=trainer)
    ours, merges = dict(BYTE_OF), {}
    for left, right in json.loads(library.to_str())["model"]["merges"]:
        ours[left + right] = 256 + len(merges)
        merges[ours[left], ours[right]] = ours[left + right]
    return merges, lambda text: [ours[token] for token in library.encode(text).tokens]


def check_train_and_heldout(train_and_heldout):
    end, length = 1, 16
    draw = random.Random(0)
    # Document number d consists of the token 100 + d alone, so that every row shows where it came
    # from.
    documents = [[100 + d] * draw.randint(20, 200) for d in range(40)]
    for _ in range(3):
        answer = expect_answer(
            train_and_heldout([list(ids) for ids in documents], length, end), "the result"
        )
        expect_true(
            isinstance(answer, tuple) and len(answer) == 2,
            "Return two tensors: train rows, held-out rows.",
        )
        for name, rows in zip(("train", "held-out"), answer, strict=True):
            right = (
                isinstance(rows, torch.Tensor)
                and rows.ndim == 2
                and rows.shape[1] == length
                and len(rows)
            )
            expect_true(
                right,
                f"The {name} rows should be a tensor (rows, {length}) with at least one row; a "
                "Packed has it as .input_ids.",
            )
        expect_clean_split(*answer, documents, end)
    return "No document stands on both sides, and chance decides which are held out."


CHECKS = {"01.1": check_merge_step, "01.2": check_decode_bytes, "01.3": check_train_and_heldout}
