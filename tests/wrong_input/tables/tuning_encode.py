"""Wrong input of encoding, of encoded rows and of their batches."""

from moe_lib.tuning import Encoded, Examples
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    NAN,
    NATURAL,
    TEXT,
    TEXTS,
    TOKENIZER,
    Entry,
)
from tests.wrong_input.tuning_small import (
    ENCODED,
    LABELS_OF,
    LISTS,
    NAMES,
    PASSAGE,
    SEED,
    TEXTS_OF,
    rows,
    tokenizer,
)

EMPTY_TEXT = [["", "a", "b"], [" \n", "a", "b"]]
LABELS = [3, "aba", {0: 1}, [0, 1], [0, 1, 2], [0, 1, -1], [0, 1, 0.5], [0, 1, None], [0, 1, True]]
LABELS += [[0, 1, "c"], [0, 1, NAN], [0, 1, [0]], [0, 0, 0]]
SQUAD = {"text": ["1843"], "answer_start": [PASSAGE.index("1843")]}
ANSWERS = [3, "text", {}, [], [3], ["1843"], [None], [{}], [{"text": ["1843"]}]]
ANSWERS += [[{"answer_start": [3]}], [{**SQUAD, "answer_start": [0]}]]
ANSWERS += [[{**SQUAD, "answer_start": bad}] for bad in ([-1], [0.5], ["0"], [True], 3, [], None)]
ANSWERS += [[{**SQUAD, "text": bad}] for bad in ("1843", [3], [None], [""], ["1844"], None)]
CHOICES = [["a", "b"], ["c", "d", "e"]]
ROWS = [None, 3, "rows", (), [3], [None], [{}], [{"labels": 0}]]

ENTRIES = [
    Entry(
        "moe_lib.tuning.encode_texts",
        lambda: dict(texts=TEXTS_OF, labels=LABELS_OF, tokenizer=tokenizer(), label_names=NAMES),
        {
            "texts": [*TEXTS, *EMPTY_TEXT],
            "labels": LABELS,
            "tokenizer": TOKENIZER,
            "label_names": [None, 3, "ab", [3, 4], [None], ["a", "a"], [], {"a": 1}],
            "max_length": [*COUNT, 1],
            "allow_empty": FLAG,
        },
    ),
    Entry(
        "moe_lib.tuning.encode_words",
        lambda: dict(
            sentences=[["one", "two"], ["three"]],
            labels=[[0, 1], [0]],
            tokenizer=tokenizer(),
            label_names=NAMES,
        ),
        {
            "sentences": [
                *TEXTS,
                ["one", "two"],
                [["one", 3], ["two"]],
                [["one", ""], ["two"]],
                [[], ["a"]],
                [["\ud800"], ["a"]],
            ],
            "labels": [
                3,
                "ab",
                [0, 1],
                [[0, 1]],
                [[0, 1], [0, 1]],
                [[0, 2], [0]],
                [[0, "c"], [0]],
                [[0, 0.5], [0]],
                [[0, True], [0]],
                [[0, 0], [0]],
                [[0, None], [0]],
                ["ab", "a"],
            ],
            "tokenizer": TOKENIZER,
            "label_names": [None, 3, "ab", [3, 4], ["a", "a"], []],
            "joiner": TEXT,
            "max_length": COUNT,
            "allow_empty": FLAG,
        },
    ),
    Entry(
        "moe_lib.tuning.encode_choices",
        lambda: dict(
            prompts=["one", "two"], choices=CHOICES, answers=[0, 2], tokenizer=tokenizer()
        ),
        {
            "prompts": [*TEXTS, ["one", ""]],
            "choices": [
                *LISTS,
                [["a"]],
                ["ab", "cd"],
                [["a", 3], ["b"]],
                [[], ["a"]],
                [["a", ""], ["b"]],
                [None, ["a"]],
            ],
            "answers": [
                3,
                "02",
                [0],
                [0, 3],
                [0, -1],
                [0, 0.5],
                [0, True],
                [0, "1"],
                [0, None],
                [0, [1]],
                [[0], [3]],
                [[0], []],
                [[0], [0.5]],
                [[0], "1"],
            ],
            "tokenizer": TOKENIZER,
            "max_length": COUNT,
        },
    ),
    Entry(
        "moe_lib.tuning.encode_questions",
        lambda: dict(
            questions=["When?"], contexts=[PASSAGE], answers=[SQUAD], tokenizer=tokenizer()
        ),
        {
            "questions": [*TEXTS, [""], []],
            "contexts": [*TEXTS, [""], []],
            "answers": ANSWERS,
            "tokenizer": TOKENIZER,
            "max_length": COUNT,
            "stride": NATURAL,
            "mark_shared_words": FLAG,
        },
        {"questions": "s"},  # lists of different lengths: either may be the wrong one
    ),
    Entry(
        "moe_lib.tuning.Encoded",
        lambda: dict(rows=rows().rows, pad_token_id=0, label_names=("a", "b")),
        {
            "rows": ROWS,
            "pad_token_id": NATURAL,
            "label_names": [None, 3, "ab", (3,)],
            "contexts": [None, 3, "ab", (3,)],
            "n_cut": NATURAL,
        },
    ),
    Entry(
        "moe_lib.tuning.Encoded.select",
        lambda: dict(indices=[0, 1]),
        {"indices": [None, 3, "01", [99], [-99], [0.5], ["0"], [None], [True]]},
        call=lambda arguments: rows().select(**arguments),
    ),
    Entry(
        "moe_lib.tuning.Examples",
        lambda: dict(encoded=rows(), batch_size=2),
        {
            "encoded": [*ENCODED, Encoded([], 0)],
            "batch_size": COUNT,
            "seed": SEED,
        },
    ),
    Entry(
        "moe_lib.tuning.Examples.at",
        lambda: dict(step=0),
        {"step": NATURAL},
        call=lambda arguments: Examples(rows(), 2).at(**arguments),
    ),
    Entry(
        "moe_lib.tuning.collate",
        lambda: dict(rows=rows().rows, pad_token_id=0),
        {
            "rows": [*ROWS, [], {}, [{"input_ids": [1], "labels": 0}, {"input_ids": [1]}]],
            "pad_token_id": NATURAL,
        },
    ),
    Entry("moe_lib.tuning.examples_of", lambda: dict(encoded=rows()), {"encoded": ENCODED}),
    Entry(
        "moe_lib.tuning.draw_examples",
        lambda: dict(encoded=rows(), n=2),
        {"encoded": ENCODED, "n": [*COUNT, 99], "seed": SEED},
    ),
    Entry(
        "moe_lib.tuning.overlap.overlap_answers",
        lambda: dict(questions=["When?"], contexts=[PASSAGE]),
        {"questions": TEXTS, "contexts": [*TEXTS, ["..."], []]},
    ),
]
