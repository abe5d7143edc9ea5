"""Checks of the exercises of chapter 01: byte-pair encoding and splitting."""

import json
import random
from collections import Counter

import torch

from moe_lib.course.comparing import NotYet, expect_answer, expect_equal, expect_true
from moe_lib.views.token_view import BYTE_OF


def check_merge_step(merge_step):
    by_hand = [
        ([1, 2, 1, 2, 3], 9, ([9, 9, 3], (1, 2))),
        ([7, 7, 7, 4], 9, ([9, 7, 4], (7, 7))),
        ([3, 1, 1, 3], 9, ([3, 9, 3], (1, 1))),  # all pairs once: the smallest
    ]
    for ids, new_id, (merged, pair) in by_hand:
        what = f"merge_step({ids}, {new_id})"
        answer = expect_answer(merge_step(list(ids), new_id), what)
        expect_true(isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], tuple),
                    f"{what} should return a list and a pair, (new_ids, pair); got {answer!r}.")  # fmt: skip
        neighbours = list(zip(ids, ids[1:], strict=False))
        expect_equal(answer[1], pair, f"the pair of {what}", hints={
            "these two are neighbours, but not the most frequent pair, or not the smallest of equally frequent ones":
                neighbours.__contains__,
        })  # fmt: skip
        expect_equal(answer[0], merged, f"the ids of {what}", hints={
            "a token was merged twice: after a merge, go on two places further":
                lambda got, wrong=([9, 9, 4], [9, 2, 9, 2, 3]): got in wrong,
            "the pair was merged in one place only: replace it everywhere": [9, 1, 2, 3],
            "the ids are unchanged: did you return the old list?": ids,
        })  # fmt: skip
    draw = random.Random(0)
    for _ in range(50):
        ids = [draw.randrange(4) for _ in range(draw.randint(2, 40))]
        pairs = Counter(zip(ids, ids[1:], strict=False))
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        # str.replace works from left to right and never uses a letter twice: the merge, done by Python itself.
        text = "".join(chr(65 + i) for i in ids).replace("".join(chr(65 + i) for i in pair), "z")
        merged = [9 if letter == "z" else ord(letter) - 65 for letter in text]
        answer = merge_step(list(ids), 9)
        expect_equal(answer[1], pair, f"the pair of merge_step({ids}, 9)")
        expect_equal(answer[0], merged, f"the ids of merge_step({ids}, 9)")
    return "Counts, ties and repeated tokens are right, on 50 random lists too."


def check_encode_bytes(encode_bytes):
    answer = encode_bytes("hi hi", {(104, 105): 256})
    expect_equal(answer, [256, 32, 256], 'encode_bytes("hi hi", {(104, 105): 256})', hints={
        "these are the bytes; no pair was merged": list(b"hi hi"),
        "only one pair was merged: go on until no known pair is left": [256, 32, 104, 105],
    })  # fmt: skip
    expect_equal(encode_bytes("é", {}), [195, 169], 'encode_bytes("é", {})', hints={
        "that is the code point, ord(\"é\"), not the bytes of UTF-8": [ord("é")],
    })  # fmt: skip
    small = {(98, 99): 256, (97, 98): 257}  # "bc" was learnt before "ab"
    expect_equal(encode_bytes("abc", small), [97, 256], f'encode_bytes("abc", {small})', hints={
        "you merged the leftmost pair, (97, 98). The pair learnt first, with the smallest new id, goes first":
            [257, 99],
    })  # fmt: skip
    merges, library, id_of = _library_bytes()
    for text in ["", "the cat sat on the mat", "zebra über naïve", "分词器分词", "ok 🙂🙂 done"]:
        expected = [id_of[number] for number in library.encode(text).ids]
        expect_equal(encode_bytes(text, dict(merges)), expected, f"encode_bytes({text!r}, merges)", hints={
            "these are the bytes; no pair was merged": list(text.encode()),
        })  # fmt: skip
    return "Equal to the library's byte-level encoding: English, accents, Chinese and emoji."


def _library_bytes():
    """A small byte-level BPE by `tokenizers`: merges {(left, right): new_id}, the tokenizer, {its id: ours}."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=320, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    texts = ["the cat sat on the mat with the other cat", "分词器把文字分成词", "🙂🙂🙃 ok", "naïve über übung"]
    library.train_from_iterator(texts, trainer=trainer)
    ours, merges = dict(BYTE_OF), {}
    for left, right in json.loads(library.to_str())["model"]["merges"]:
        ours[left + right] = 256 + len(merges)
        merges[ours[left], ours[right]] = ours[left + right]
    return merges, library, {number: ours[token] for token, number in library.get_vocab().items()}


def check_train_and_heldout(train_and_heldout):
    end, length = 1, 16
    draw = random.Random(0)
    # Document number d consists of the token 100 + d alone, so that every row shows where it came from.
    documents = [[100 + d] * draw.randint(20, 200) for d in range(40)]
    for _ in range(3):
        answer = expect_answer(train_and_heldout([list(ids) for ids in documents], length, end), "the result")
        expect_true(isinstance(answer, tuple) and len(answer) == 2, "Return two tensors: train rows, held-out rows.")
        train, heldout = answer
        for name, rows in (("train", train), ("held-out", heldout)):
            right = isinstance(rows, torch.Tensor) and rows.ndim == 2 and rows.shape[1] == length and len(rows)
            expect_true(right, f"The {name} rows should be a tensor (rows, {length}) with at least one row; a "
                        "Packed has it as .input_ids.")  # fmt: skip
        on_train, on_heldout = (set(rows.unique().tolist()) - {end} for rows in (train, heldout))
        both = on_train & on_heldout
        if both:
            raise NotYet(
                f"{len(both)} of the {len(on_heldout)} documents in the held-out rows also stand in the training rows. "
                "A model can learn their words by heart, so its held-out loss is too low. When is it decided which "
                "side a document is on: before or after it is cut into rows?"
            )
        expect_true(2 <= len(on_heldout) <= 8, f"{len(on_heldout)} of {len(documents)} documents are held out; "
                    "want about a tenth of the documents.")  # fmt: skip
        kept, total = train.numel() + heldout.numel(), sum(len(ids) + 1 for ids in documents)
        expect_true(kept > total - 2 * length, f"Only {kept} of {total} tokens are left: keep every document.")
        expect_true(bool((train == end).any()), "The training rows have no end token between documents.")
    return "No document stands on both sides."


CHECKS = {"01.1": check_merge_step, "01.2": check_encode_bytes, "01.3": check_train_and_heldout}
