"""Wrong arguments of packing, padding, masking, batching and tokenizers are refused by name."""

import numpy as np
import pytest
import torch

from moe_lib.text import (
    Batches,
    MaskingIds,
    encode_corpus,
    evaluation_batches,
    load_corpus,
    load_tokenizer,
    mask_tokens,
    pack,
    pad_batch,
    train_tokenizer,
)

NAN = float("nan")
ROWS = torch.arange(5, 17).reshape(3, 4)
IDS = MaskingIds(2, (0, 1, 2), 20)
BOTH = (Batches, evaluation_batches)
GOOD = {
    Batches: {
        "packed_or_input_ids": ROWS,
        "batch_size": 2,
        "objective": "masked",
        "tokenizer": IDS,
    },
    evaluation_batches: {"packed_or_input_ids": ROWS, "batch_size": 2, "tokenizer": IDS}
    | {"objective": "masked"},
    mask_tokens: {"input_ids": ROWS, "tokenizer_or_ids": IDS, "generator": torch.Generator()},
    pack: {"token_lists": [[3, 4], [], [5]], "sequence_length": 2, "end_token_id": 1},
    pad_batch: {"token_lists": [[3, 4], [], [5]], "pad_token_id": 0},
    train_tokenizer: {"texts": ["a text"], "vocab_size": 300},
    load_tokenizer: {"name_or_folder": "course"},
}
NO_COUNT = (0, -1, 1.5, "2", None, True, [2], NAN)
NO_ID = (-1, 1.5, "2", True, [2], NAN)
NO_LISTS = (
    None,
    3,
    "ab",
    {"a": [1]},
    [3],
    ["ab"],
    [[1.5]],
    [["a"]],
    [[None]],
    [[-1]],
    [[[1]]],
    [[True]],
)
NO_IDS = (None, ROWS.tolist(), ROWS.float(), "ab", ROWS + 90, ROWS - 9)
NO_SHARE = (0, -0.1, 1.5, "0.15", None, True, NAN, [0.1])
NO_MASK = ([[1] * 4] * 3, "mask", 3, torch.ones(3, 5), torch.ones(4))
NO_ROWS = (None, [[1, 2]], "ab", 3, ROWS.float(), ROWS[0], ROWS[:0], ROWS[:, :0], ROWS.bool())
WRONG = [
    *((one, "packed_or_input_ids", bad) for one in BOTH for bad in NO_ROWS),
    *((one, "batch_size", bad) for one in BOTH for bad in NO_COUNT),
    *((one, "seed", bad) for one in BOTH for bad in (*NO_ID, None)),
    *((one, "objective", bad) for one in BOTH for bad in ("both", None, 3, ["causal"])),
    *((Batches, "tokenizer", bad) for bad in (None, "course", 3, [1])),
    *((one, "mask_probability", bad) for one in BOTH for bad in NO_SHARE),
    *((one, "attention_mask", bad) for one in (*BOTH, mask_tokens) for bad in NO_MASK),
    *((mask_tokens, "input_ids", bad) for bad in NO_IDS),
    *((mask_tokens, "tokenizer_or_ids", bad) for bad in (None, "course", 3, [1])),
    *((mask_tokens, "probability", bad) for bad in NO_SHARE),
    *((mask_tokens, "generator", bad) for bad in (None, 3, "cpu")),
    *((one, "token_lists", bad) for one in (pack, pad_batch) for bad in NO_LISTS),
    *((pad_batch, "token_lists", bad) for bad in ([], [[]], [[], []])),
    *((pack, "token_lists", bad) for bad in ([], [[]])),
    *((pack, "sequence_length", bad) for bad in NO_COUNT),
    *((pack, "end_token_id", bad) for bad in (*NO_ID, None)),
    *((pad_batch, "pad_token_id", bad) for bad in (*NO_ID, None)),
    *((pad_batch, "side", bad) for bad in ("top", "", None, 3, ["left"])),
    *((pad_batch, "max_length", bad) for bad in NO_COUNT if bad is not None),
    *((train_tokenizer, "vocab_size", bad) for bad in (*NO_COUNT, 100)),
    *((train_tokenizer, "texts", bad) for bad in (None, 3, "one", [3], ["a", None], ["\ud83d"])),
    *(
        (load_tokenizer, "name_or_folder", bad)
        for bad in (None, 3, True, b"a", ["course"], "", " ")
    ),
]
ALSO = {"tokenizer_or_ids": "tokenizer", "token_lists": r"token_lists(\[\d\])?"}
ALSO["texts"] = r"texts(\[\d\])?"


@pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)
def test_the_right_ones_are_taken(function):
    function(**GOOD[function])


@pytest.mark.parametrize(
    "function, argument, bad",
    WRONG,
    ids=[f"{one.__name__}-{name}-{str(bad)[:30]}" for one, name, bad in WRONG],
)
def test_a_wrong_argument_is_named(function, argument, bad):
    with pytest.raises((TypeError, ValueError), match=rf"^{ALSO.get(argument, argument)}: "):
        function(**{**GOOD[function], argument: bad})


@pytest.mark.parametrize("step", [-1, 1.5, "0", None, True])
def test_a_wrong_step_is_named(step):
    with pytest.raises((TypeError, ValueError), match="^step: got .*; wants a whole number"):
        Batches(ROWS, 2).at(step)


def test_a_corpus_needs_a_dataset_a_tokenizer_and_a_length():
    rows, tokenizer = load_corpus("stories", split="train", limit=3), load_tokenizer()
    for argument, bad in [
        *(("dataset", bad) for bad in (None, "stories", ["a"], {"text": ["a"]}, 3)),
        *(("tokenizer", bad) for bad in (None, "course", 3)),
        *(("sequence_length", bad) for bad in NO_COUNT),
    ]:
        given = {"dataset": rows, "tokenizer": tokenizer, "sequence_length": 8, argument: bad}
        with pytest.raises((TypeError, ValueError), match=f"^{argument}: got .*; wants "):
            encode_corpus(**given)


def test_ids_of_other_kinds_are_taken():
    expected = pack([[3, 4], [5]], 2, 1).input_ids
    for lists in (
        [np.array([3, 4]), np.array([5], dtype=np.int32)],
        [torch.tensor([3, 4]), torch.tensor([5])],
        ((3, 4), (5,)),
    ):
        assert torch.equal(pack(lists, 2, 1).input_ids, expected)
        assert pad_batch(lists, 0)[0].tolist() == [[3, 4], [5, 0]]
