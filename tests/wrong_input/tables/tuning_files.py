"""Damaged files of heads and adapters: the error names the file."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from moe_lib.tuning import SequenceClassifier, save_head
from moe_lib.tuning.methods import LoRA
from tests.wrong_input.table import NAN, Entry, Made
from tests.wrong_input.tuning_small import folder, fresh_base

MISSING = object()
BAD = (MISSING, None, 3, True, 1.5)  # what no field of a card is


def whole(kind: str):
    """The folder of a whole head or adapter, written once."""
    place = folder() / f"whole_{kind}"
    if not place.exists():
        if kind == "head":
            save_head(SequenceClassifier(fresh_base(), 2), place, label_names=["a", "b"])
        else:
            LoRA(rank=2).attach(fresh_base()).save(place)
    return place


def damaged(kind: str, file: str, what: str, change) -> Made:
    """`change` gets the path of one file of a copy."""

    def make(arguments):
        place = folder() / f"damaged_{kind}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole(kind), place)
        change(place / file)
        return place

    return Made(f"with {what}", make)


def field(kind: str, name: str, value) -> Made:
    def change(path):
        card = json.loads(path.read_text(encoding="utf-8"))
        if value is MISSING:
            del card[name]
        else:
            card[name] = value
        path.write_text(json.dumps(card), encoding="utf-8")

    said = "no" if value is MISSING else f"{value!r} as"
    return damaged(kind, f"{kind}.json", f"{said} {name}", change)


def setting(kind: str, name: str, value) -> Made:
    def change(path):
        card = json.loads(path.read_text(encoding="utf-8"))
        card["settings"][name] = value
        path.write_text(json.dumps(card), encoding="utf-8")

    return damaged(kind, f"{kind}.json", f"the setting {name} {value!r}", change)


def content(kind: str, end: str, raw: bytes) -> Made:
    return damaged(
        kind, f"{kind}.{end}", f"{end} of {raw[:12]!r}", lambda path: path.write_bytes(raw)
    )


def weights(kind: str, what: str, turn) -> Made:
    """`turn` gets the first tensor and gives what stands in its place; None: nothing does."""

    def change(path):
        tensors = load_file(path)
        first = min(tensors)
        turned = turn(tensors.pop(first))
        save_file(tensors | ({} if turned is None else {first: turned}), path)

    return damaged(kind, f"{kind}.safetensors", what, change)


def without_file(kind: str, name: str) -> Made:
    return damaged(kind, name, f"no {name}", lambda path: path.unlink())


def cards(kind: str, fields: dict) -> list[Made]:
    return [
        *(field(kind, name, bad) for name, more in fields.items() for bad in (*BAD, *more)),
        setting(kind, "nothing", 1),
        content(kind, "json", b""),
        content(kind, "json", b"{"),
        content(kind, "json", b"[]"),
        content(kind, "json", b"\xff\xfe\x00"),
        content(kind, "json", b"[" * 100_000),
        without_file(kind, f"{kind}.json"),
    ]


def tensors(kind: str) -> list[Made]:
    return [
        weights(kind, "NaN weights", lambda tensor: tensor * NAN),
        weights(kind, "infinite weights", lambda tensor: tensor + float("inf")),
        weights(kind, "whole weights", lambda tensor: tensor.to(torch.int64)),
        weights(kind, "weights of another shape", lambda tensor: torch.zeros(1)),
        weights(kind, "a tensor missing", lambda tensor: None),
        content(kind, "safetensors", b""),
        content(kind, "safetensors", b"\x08\0\0\0\0\0\0\0{}"),
        content(kind, "safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        without_file(kind, f"{kind}.safetensors"),
    ]


def load_adapter(arguments: dict):
    from moe_lib.tuning.methods import load_adapter as load

    return load(model=fresh_base(), **arguments)


HEAD_FIELDS = {"kind": ("x",), "head": ("x", []), "settings": ([], "x"), "label_names": ({}, "x")}
HEAD_FIELDS |= {"base": ([],)}
ADAPTER_FIELDS = {"kind": ("x",), "method": ("x", []), "settings": ([], "x"), "base": ([],)}
HEAD_SETTINGS = [("n_labels", 0), ("n_labels", 1.5), ("n_labels", None), ("pooling", "max")]
HEAD_SETTINGS += [("dropout", 2), ("dropout", "x"), ("pooling", [])]
ADAPTER_SETTINGS = [("rank", 0), ("rank", 1.5), ("rank", None), ("rank", 99), ("alpha", "x")]
ADAPTER_SETTINGS += [("alpha", -1), ("targets", "x"), ("targets", []), ("targets", ["nowhere"])]
ADAPTER_SETTINGS += [("dropout", 1), ("targets", [3])]

ENTRIES = [
    Entry(
        "moe_lib.tuning.load_head",
        lambda: dict(folder=whole("head")),
        {"folder": cards("head", HEAD_FIELDS) + [setting("head", *one) for one in HEAD_SETTINGS]},
        {"folder": "head.json"},
    ),
    Entry(
        "moe_lib.tuning.load_head",
        lambda: dict(folder=whole("head")),
        {"folder": tensors("head")},
        {"folder": "head.safetensors"},
    ),
    Entry(
        "moe_lib.tuning.methods.load_adapter",
        lambda: dict(folder=whole("adapter")),
        {
            "folder": cards("adapter", ADAPTER_FIELDS)
            + [setting("adapter", *one) for one in ADAPTER_SETTINGS]
        },
        {"folder": "adapter.json"},
        load_adapter,
    ),
    Entry(
        "moe_lib.tuning.methods.load_adapter",
        lambda: dict(folder=whole("adapter")),
        {"folder": tensors("adapter")},
        {"folder": "adapter.safetensors"},
        load_adapter,
    ),
]
