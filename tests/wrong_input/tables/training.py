"""Wrong input of training: the loop, its parts, checkpoints, upcycling, live runs."""

import json
import tempfile
from functools import cache
from pathlib import Path

import torch

from moe_lib import save_checkpoint
from moe_lib.text import load_tokenizer
from tests.wrong_input.models import IDS, Batches, new_model, small
from tests.wrong_input.table import (
    CALLBACK,
    COUNT,
    FLAG,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    Entry,
    Made,
)

OPTIONAL_COUNT = [value for value in COUNT if value is not None]

DEVICE = ["gpu", "cuda:99", 3.5, [], {}, "cpu:x"]

FLAGS = [*FLAG, None]

FOLDER = [3, b"bytes", ["a"], 1.5, "", "a\0b", __file__, True]

NAME = [None, 3, True, ["a"], {}, "", "a\0b", 1.5, b"bytes"]

NOT_FINITE = Made("with a weight that is NaN", lambda _: broken())

CHANGED = Made("with another module", lambda _: other_head())

DTYPES = ["bfloat16", 16, torch.int8, torch.bool, float, "float32", True]


class Batch:
    """A source that always gives the same."""

    def __init__(self, batch):
        self.batch = batch

    def at(self, step):
        return self.batch


def broken():
    model = new_model()
    model.norm.weight.data[0] = NAN
    return model


def other_head():
    model = new_model()
    model.head = torch.nn.Linear(8, 21, bias=False)
    return model


def frozen():
    return new_model().requires_grad_(False)


def folder() -> str:
    return tempfile.mkdtemp()


@cache
def checkpoint() -> Path:
    return save_checkpoint(small(), folder())


def damaged(what: str, fields=None, weights=None) -> Made:
    """A checkpoint with another config.json, or other bytes for its weights."""

    def make(_):
        path = save_checkpoint(small(), folder())
        if fields is not None:
            config_path = path / "config.json"
            held = json.loads(config_path.read_text())
            config_path.write_text(fields(held) if callable(fields) else fields)
        if weights is not None:
            (path / "model.safetensors").write_bytes(weights)
        return path

    return Made(what, make)


def without(name: str):
    return lambda held: json.dumps({key: held[key] for key in held if key != name})


def changed(**fields):
    return lambda held: json.dumps({**held, **fields})


DAMAGED = [
    *(
        damaged(f"without {name}", without(name))
        for name in ("vocab_size", "router", "num_experts_per_tok", "causal", "model_type")
    ),
    *(
        damaged(f"{name} {value!r}", changed(**{name: value}))
        for name, value in [
            ("vocab_size", 10**11),
            ("vocab_size", 21),
            ("hidden_size", "wide"),
            ("hidden_size", None),
            ("num_hidden_layers", 10**9),
            ("num_hidden_layers", 1),
            ("n_routed_experts", 10**9),
            ("routed_scaling_factor", NAN),
            ("causal", "yes"),
            ("model_type", "llama"),
            ("unknown", 3),
        ]
    ),
    *(
        damaged(f"config {text[:10]!r}", text)
        for text in ("", "{", "[]", "3", "null", "[" * 100_000, '{"a": 1, "a": 2}')
    ),
    *(damaged(f"weights {raw!r}", None, raw) for raw in (b"", b"x", b"\0" * 8, b"\xff" * 64)),
]

TRAIN = {
    "batches": [None, 3, "batches", [], {}, Batch(None), Batch([1]), Batch({"input_ids": IDS})]
    + [Batch({"labels": IDS}), Batch({"input_ids": "ids", "labels": IDS})],
    "steps": COUNT,
    "learning_rate": [*POSITIVE, None],
    "min_learning_rate_ratio": [*SHARE, None],
    "warmup_steps": [value for value in NATURAL if value is not None],
    "weight_decay": [*NON_NEGATIVE, None],
    "clip": [*POSITIVE, None],
    "accumulation": [*COUNT, 5],
    "evaluation": [3, True, iter([]), 1.5],
    "evaluate_every": OPTIONAL_COUNT,
    "folder": FOLDER,
    "save_every": COUNT,
    "resume": FLAGS,
    "device": DEVICE,
    "bf16": FLAG,
    "progress": FLAGS,
    "tensorboard": FOLDER,
    "callback": [*CALLBACK, True, {}],
}

ENTRIES = [
    Entry(
        "moe_lib.train",
        lambda: dict(model=new_model(), batches=Batches(), steps=1, progress=False),
        {"model": [*MODEL, torch.nn.Linear(2, 2), Made("frozen", lambda _: frozen())], **TRAIN},
        call=lambda arguments: train(**{"evaluation": None, **arguments}),
    ),
    *(
        Entry(
            f"moe_lib.training.{name}",
            lambda: dict(model=small(), batches=Batches()),
            {
                "model": [*MODEL, print],
                "batches": [None, 3, "batches", [], {}, [None], ["a"], [{}], [{"labels": IDS}]]
                + [[{"input_ids": IDS, "labels": IDS * 0 - 100}], [[IDS, IDS]], True],
            },
        )
        for name in ("evaluate", "measure")
    ),
    Entry(
        "moe_lib.training.make_optimiser",
        lambda: dict(model=new_model(), learning_rate=0.1),
        {
            "model": [*MODEL, Made("frozen", lambda _: frozen())],
            "learning_rate": [*POSITIVE, None],
            "weight_decay": [*NON_NEGATIVE, None],
            "betas": [None, 3, "ab", (0.9,), (0.9, 1.0), (0.9, NAN), (-0.1, 0.9), ("0.9", 0.9)],
        },
    ),
    Entry(
        "moe_lib.training.warmup_cosine",
        lambda: dict(step=0, steps=10, warmup_steps=2, min_ratio=0.1),
        {"step": NATURAL, "steps": COUNT, "warmup_steps": NATURAL, "min_ratio": [*SHARE, None]},
    ),
    Entry(
        "moe_lib.save_checkpoint",
        lambda: dict(model=new_model(vocab_size=4096), folder=folder(), tokenizer=load_tokenizer()),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), NOT_FINITE, CHANGED],
            "folder": [None, *(value for value in FOLDER if value != __file__)],
            "tokenizer": ["course", 3, {}, [], True],
            "dtype": DTYPES,
        },
    ),
    Entry(
        "moe_lib.load_checkpoint",
        lambda: dict(name_or_folder=checkpoint()),
        {"name_or_folder": NAME, "device": DEVICE},
    ),
    Entry(
        "moe_lib.load_checkpoint",
        lambda: dict(name_or_folder=checkpoint()),
        {"name_or_folder": [*DAMAGED, str(Path(tempfile.gettempdir()) / "no such checkpoint")]},
        says={"name_or_folder": tempfile.gettempdir()},
    ),
    Entry(
        "moe_lib.save_checkpoint",
        lambda: dict(model=new_model(), folder=folder()),
        {"folder": [__file__]},
        says={"folder": __file__},
    ),
    Entry(
        "moe_lib.training.find_checkpoint",
        lambda: dict(name_or_folder=checkpoint()),
        {"name_or_folder": NAME},
    ),
]
RECORD = "a record that the library fills in; readers look at it and do not make it"

EXEMPT = {f"moe_lib.training.{name}": RECORD for name in ("StepReport", "TrainingRun")}

EXEMPT["moe_lib.training.cure_settings.cure_words"] = (
    "words for the fields of a checked ModelConfig"
)

EXEMPT["moe_lib.training.TrainingDiverged"] = "an error: it is raised, not called"


def train(**arguments):
    from moe_lib import train

    return train(**arguments)
