"""Wrong input of the text room: packing, padding, masking, tokenizers, corpora, labelled sets."""

import json
import tempfile
from functools import cache
from pathlib import Path

import torch

from moe_lib.text import Batches, MaskingIds, Packed, load_corpus, load_tokenizer
from moe_lib.text.order import ShuffledOrder
from tests.wrong_input.table import (
    COUNT,
    INF,
    NAN,
    NATURAL,
    SHARE,
    TEXTS,
    Entry,
)

OPTIONAL_COUNT = [value for value in COUNT if value is not None]
ROWS = torch.arange(5, 17).reshape(3, 4)
PADDED = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
IDS = MaskingIds(2, (0, 1, 2), 20)
GENERATOR = torch.Generator()
ID = [-1, 1.5, "2", True, [2], NAN, None]
LISTS = [None, 3, "ab", {"a": [1]}, [], [[]], [3], ["ab"], [[1.5]], [["a"]], [[None]], [[-1]]]
LISTS += [
    [[[1]]],
    [[True]],
    [{3: 4}],
    b"ab",
    [[2**70]],
    [torch.zeros(2)],
    [torch.zeros(2, 2).int()],
]
THRESHOLD = [0, -0.5, 1.01, "0.1", None, True, [0.1], NAN, INF, -INF]
# The last two: additive (0 at text, -1e9 at padding), and neither 0 nor 1.
MASK = [[[1] * 4] * 3, "mask", 3, torch.ones(3, 5), torch.ones(4), PADDED.numpy()]
MASK += [PADDED.float().log().clamp(min=-1e9), PADDED * 2, PADDED * NAN, -PADDED, PADDED * 0.5]
INPUT_IDS = [
    None,
    ROWS.tolist(),
    ROWS.float(),
    ROWS.bool(),
    "ab",
    ROWS + 90,
    ROWS - 9,
    ROWS.numpy(),
]
NO_ROWS = [None, [[1, 2]], "ab", 3, ROWS.float(), ROWS[0], ROWS[:0], ROWS[:, :0], ROWS.bool()]
NO_ROWS += [ROWS.numpy(), ROWS[None], {}]
TOKENIZER = [None, "course", 3, [1], {}]
PATH = [3, 2.5, True, ["a"], b"a", {"a": 1}, "", "  ", "a\0b"]
NAME = [None, 3, 2.5, True, ["stories"], {"a": 1}, b"stories", "", "unknown"]
ONE_LINE = [3, 2.5, True, ["a"], {"a": 1}, b"a", "", " ", "\ud83d"]


@cache
def stories():
    return load_corpus("stories", split="train", limit=3)


def batching(name: str) -> Entry:
    return Entry(
        f"moe_lib.text.{name}",
        lambda: dict(
            packed_or_input_ids=ROWS,
            batch_size=2,
            objective="masked",
            tokenizer=IDS,
            attention_mask=PADDED,
        ),
        {
            "packed_or_input_ids": NO_ROWS,
            "batch_size": COUNT,
            "seed": NATURAL,
            "objective": ["both", "", None, 3, ["causal"], True, {}],
            "tokenizer": [*TOKENIZER, NoMask()],
            "mask_probability": [0, *SHARE, None],
            "attention_mask": MASK,
            "device": ["gpu", "cuda:99", 3.5, [], {}, "meta:x"],
        },
    )


class NoMask:
    """A tokenizer without a mask token."""

    mask_token_id = None


@cache
def file(name: str, content: str) -> Path:
    path = Path(tempfile.mkdtemp()) / name
    path.write_text(content)
    return path


ANSWERS = [{"text": "b", "answer_start": 2}]
PARAGRAPH = {"context": "a b", "qas": [{"id": "1", "question": "What?", "answers": ANSWERS}]}
SQUAD = {"data": [{"title": "T", "paragraphs": [PARAGRAPH]}]}


ENTRIES = [
    batching("Batches"),
    batching("evaluation_batches"),
    Entry(
        "moe_lib.text.Batches",
        lambda: dict(packed_or_input_ids=ROWS, batch_size=2, attention_mask=PADDED),
        {"mask_probability": [0, *SHARE, None], "attention_mask": MASK},
    ),
    Entry(
        "moe_lib.text.Batches.at",
        lambda: dict(step=0),
        {"step": NATURAL},
        call=lambda arguments: Batches(ROWS, 2).at(**arguments),
    ),
    Entry(
        "moe_lib.text.mask_tokens",
        lambda: dict(
            input_ids=ROWS, tokenizer_or_ids=IDS, generator=GENERATOR, attention_mask=PADDED
        ),
        {
            "input_ids": INPUT_IDS,
            "tokenizer_or_ids": [*TOKENIZER, NoMask(), MaskingIds(99, (0,), 20)],
            "probability": [0, *SHARE, None],
            "generator": [None, 3, "cpu", True, torch.Generator],
            "attention_mask": MASK,
        },
        says={"tokenizer_or_ids": "tokenizer"},
    ),
    Entry(
        "moe_lib.text.MaskingIds.of",
        lambda: dict(tokenizer=IDS),
        {"tokenizer": [*TOKENIZER, NoMask()]},
    ),
    Entry(
        "moe_lib.text.pack",
        lambda: dict(token_lists=[[3, 4], [], [5]], sequence_length=2, end_token_id=1),
        {"token_lists": LISTS, "sequence_length": [*COUNT, 99], "end_token_id": [*ID, 2**70]},
    ),
    Entry(
        "moe_lib.text.pad_batch",
        lambda: dict(token_lists=[[3, 4], [], [5]], pad_token_id=0),
        {
            "token_lists": [*LISTS, [[], []]],
            "pad_token_id": [*ID, 2**70],
            "side": ["top", "", None, 3, ["left"], True, {}],
            "max_length": OPTIONAL_COUNT,
        },
    ),
    Entry(
        "moe_lib.text.Packed.domain_ids",
        lambda: dict(domains=("a", "b")),
        {"domains": [None]},
        call=lambda arguments: Packed(ROWS, ROWS % 2, **arguments).domain_ids(),
    ),
    Entry(
        "moe_lib.text.encode_corpus",
        lambda: dict(dataset=stories(), tokenizer=load_tokenizer(), sequence_length=8),
        {
            "dataset": [None, "stories", ["a"], {"text": ["a"]}, 3, [{"text": "a"}]],
            "tokenizer": [*TOKENIZER, NoMask()],
            "sequence_length": [*COUNT, 10**9],
        },
    ),
    Entry(
        "moe_lib.text.train_tokenizer",
        lambda: dict(texts=["a text"], vocab_size=300),
        {
            "texts": [*TEXTS, b"bytes", ["a", None]],
            "vocab_size": [*COUNT, 100, 271],
        },
    ),
    Entry(
        "moe_lib.text.load_tokenizer",
        lambda: dict(name_or_folder="course"),
        {
            "name_or_folder": [*PATH, None],
        },
    ),
    Entry(
        "moe_lib.text.load_corpus",
        lambda: dict(name_or_path="stories"),
        {
            "name_or_path": [*PATH, None, "no corpus", "x" * 5_000],
            "text_column": [*ONE_LINE, None],
            "domain": ONE_LINE,
            "split": ["test", "Train", *ONE_LINE],
            "limit": OPTIONAL_COUNT,
            "held_out": [-0.1, 1, 1.5, "0.1", None, True, [0.1], NAN, INF, -INF],
        },
    ),
    *(
        Entry(
            f"moe_lib.text.corpora.near_duplicates.{name}",
            lambda: dict(texts=["a b c", "a b c d"], threshold=0.5),
            {"texts": [*TEXTS, {"a": "b"}, [["a"]], b"ab"], "threshold": THRESHOLD},
        )
        for name in ("near_duplicate_groups", "containers")
    ),
    Entry(
        "moe_lib.text.corpora.mixture.repeat_written",
        lambda: dict(documents=stories(), times=2),
        {"documents": [None, "stories", 3, ["a"], {}, [{"domain": "a"}]], "times": COUNT},
    ),
    Entry(
        "moe_lib.text.corpora.readers.read_documents",
        lambda: dict(path=file("a.txt", "a text")),
        {
            "path": [value for value in PATH if value != "  "] + [None],
            "text_column": [3, None, ["a"], b"a", True],
            "limit": OPTIONAL_COUNT,
        },
    ),
    Entry(
        "moe_lib.text.order.ShuffledOrder",
        lambda: dict(n_rows=3, batch_size=2, seed=0),
        {"n_rows": COUNT, "batch_size": COUNT, "seed": [*NATURAL, None]},
    ),
    Entry(
        "moe_lib.text.order.ShuffledOrder.at",
        lambda: dict(step=0),
        {"step": NATURAL},
        call=lambda arguments: ShuffledOrder(3, 2, 0).at(**arguments),
    ),
    Entry(
        "moe_lib.text.load_task",
        lambda: dict(name="summaries", limit=1),
        {
            "name": [*NAME, "Summaries", "public:", "public:nothing"],
            "split": ["dev", "", 3, True, ["train"], ("train",), {}],
            "limit": OPTIONAL_COUNT,
            "path": PATH,
        },
    ),
    Entry(
        "moe_lib.text.load_task",
        lambda: dict(name="public:squad_v2", path=file("dev-v2.0.json", json.dumps(SQUAD))),
        {"path": PATH, "split": ["dev", 3], "limit": OPTIONAL_COUNT},
    ),
    Entry("moe_lib.text.load_products", lambda: dict(path=None), {"path": PATH}),
    Entry(
        "moe_lib.text.tasks.load_second_labels",
        lambda: dict(name="market_sentiment"),
        {"name": [*NAME, "summaries"], "path": PATH},
    ),
]
NOTHING = "takes no argument"
PART = "a part of the functions of its file that are in the table; they check what goes in"
EXEMPT = {
    "moe_lib.text.corpus_names": NOTHING,
    "moe_lib.text.task_names": NOTHING,
    "moe_lib.text.tasks.public_names": NOTHING,
    "moe_lib.text.corpora.mixture.mixture_texts": NOTHING,
    "moe_lib.text.corpora.near_duplicates.first_of_linked": PART,
    "moe_lib.text.corpora.readers.is_hidden": PART,
    "moe_lib.text.corpora.readers.row_document": PART,
    "moe_lib.text.order.seeded_generator": PART,
}
