"""What the tables of the tuning room share: tiny models, rows and batches that are made once."""

import tempfile
from functools import cache
from pathlib import Path

import torch

from moe_lib.text import load_tokenizer
from moe_lib.tuning import (
    Examples,
    MultipleChoice,
    SequenceClassifier,
    SpanExtractor,
    TokenClassifier,
    encode_questions,
    encode_texts,
    encode_words,
)
from moe_lib.tuning.prompting import chat, encode_chats
from tests.tuning.small import make_base
from tests.wrong_input.table import INF, NAN, Made

IDS = torch.randint(20, 400, (3, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
TEXTS_OF = ["one text", "another one", "a third of them"]
LABELS_OF = [0, 1, 0]
NAMES = ["a", "b"]
PASSAGE = "Ada wrote the first program in 1843."

# wrong values
SEED = [-1, 0.5, True, "0", None, NAN, [1]]
RATE = [-0.1, 1, 1.5, True, "0.5", None, NAN, INF, [0.1]]
THRESHOLD = [True, "0", None, NAN, [0.0]]
ENCODED = [None, "rows", 3, [], {}, [{"input_ids": [1]}]]
HEAD = [None, "head", 3, {}, torch.nn.Linear(2, 2)]
BATCHES = [None, 3, "batches", {}, [], [3], [None], [{}], [{"input_ids": [1]}], [{"labels": MASK}]]
BATCH = [None, "batch", 3, [], {}, {"input_ids": [1]}, {"labels": MASK}]
DEVICE = ["nowhere", 1.5, True, ["cpu"]]
WRONG_IDS = [
    None,
    "ids",
    [[1, 2]],
    IDS.float(),
    IDS[0],
    IDS[None],
    IDS[:0],
    IDS - 1000,
    IDS + 10**6,
]
WRONG_MASK = ["mask", [[1]], MASK[0], MASK[:, :3], MASK * 2, -MASK, MASK * NAN]
LISTS = [None, 3, "ab", {"a": 1}]
WHOLE_LISTS = [None, 3, "ab", {"a": 1}, ["a"], [0.5], [True], [None], [-1]]


@cache
def tokenizer():
    return load_tokenizer("mixture")


@cache
def base(causal: bool = False):
    return make_base(vocab_size=6144, causal=causal).eval()


def fresh_base(causal: bool = False):
    return make_base(vocab_size=6144, causal=causal)


@cache
def dense():
    return make_base(vocab_size=6144, n_routed_experts=0, n_shared_experts=0)


@cache
def classifier():
    return SequenceClassifier(base(), 2).eval()


@cache
def tagger():
    return TokenClassifier(base(), 2).eval()


@cache
def reader():
    return SpanExtractor(base()).eval()


@cache
def chooser():
    return MultipleChoice(base()).eval()


@cache
def rows():
    return encode_texts(TEXTS_OF, LABELS_OF, tokenizer(), label_names=NAMES)


@cache
def unlabelled():
    return encode_texts(["something else", "and more"], None, tokenizer())


@cache
def tagged():
    return encode_words([["one", "two"]], [[0, 1]], tokenizer(), label_names=NAMES)


@cache
def questions():
    answer = {"text": ["1843"], "answer_start": [PASSAGE.index("1843")]}
    return encode_questions(["When?"], [PASSAGE], [answer], tokenizer())


@cache
def chats():
    return encode_chats([chat("Hello there.", "Good day."), chat("And?", "Yes.")], tokenizer())


def batches():
    return Examples(rows(), 2)


@cache
def batch():
    return Examples(rows(), 3).at(0)


@cache
def folder() -> Path:
    """A place for files, removed with the process's temporary files."""
    found = tempfile.TemporaryDirectory(prefix="wrong_input_")
    folder.keep = found  # it is removed when this is
    return Path(found.name)


def fit(encoded, round_):
    """What self-training and active learning call: a trained head."""
    return classifier()


def without(name: str) -> Made:
    """A batch that lacks one of its tensors."""
    return Made(
        f"without {name}",
        lambda arguments: {key: part for key, part in batch().items() if key != name},
    )
