"""A task head on disk: a checkpoint folder of its base, and head.safetensors and head.json beside
it."""

import hashlib
from pathlib import Path

import torch

from moe_lib.errors import require
from moe_lib.files import read_json, read_tensors, write_json, write_tensors
from moe_lib.model import LanguageModel
from moe_lib.shapes_only import shapes_only
from moe_lib.training import load_checkpoint, save_checkpoint
from moe_lib.tuning.heads import HEADS
from moe_lib.tuning.task_head import TaskHead

KIND = "moe_lib head"


def fingerprint(model: LanguageModel) -> str:
    """A short name of exactly these weights: 16 hex digits of SHA-256 over the config and every
    tensor.

    Another seed, one more training step or an unmerged adapter gives another one. Weights are taken
    in float32.
    """
    digest = hashlib.sha256(repr(sorted(model.config.to_dict().items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).contiguous()
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_head(
    head: TaskHead, folder: str | Path, tokenizer=None, *, label_names=(), with_base: bool = True
) -> Path:
    """Write the head into `folder`, and its base as a checkpoint; returns the folder.

    with_base=False leaves the base out, where it is a checkpoint of its own that was not changed:
    `load_head` then needs it, and refuses another. label_names are kept in head.json.
    Raises ValueError if a method is still attached to the base: merge or detach it first.
    """
    require(
        type(head).__name__ in HEADS,
        "head",
        type(head).__name__,
        f"one of {', '.join(HEADS)}",
        TypeError,
    )
    _require_plain(head.base)
    folder = Path(folder)
    if with_base:
        save_checkpoint(head.base, folder, tokenizer)
    tensors = {
        name: tensor for name, tensor in head.state_dict().items() if not name.startswith("base.")
    }
    write_tensors(folder / "head.safetensors", tensors, {"kind": KIND})
    write_json(
        folder / "head.json",
        {
            "kind": KIND,
            "head": type(head).__name__,
            "settings": head.settings,
            "label_names": list(label_names),
            "base": fingerprint(head.base),
        },
    )
    return folder


def load_head(folder: str | Path, base: LanguageModel | None = None, device=None):
    """Read what `save_head` wrote -> (head in eval mode, tokenizer or None, label names).

    base   the model it was trained on, if the folder holds none. Raises FileNotFoundError naming a
           missing file, ValueError for a damaged one and for a base with other weights than those
           the head was trained on.
    """
    folder = Path(folder)
    for name in ("head.json", "head.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name}: missing; save_head writes head.json and head.safetensors"
            )
    card = read_json(folder / "head.json")
    if card.get("kind") != KIND or card.get("head") not in HEADS:
        raise ValueError(
            f"{folder / 'head.json'}: not a head of moe_lib, one of {', '.join(HEADS)}"
        )
    tokenizer = None
    if base is None:
        base, tokenizer = load_checkpoint(folder, device)
    _require_plain(base)
    require(
        fingerprint(base) == card["base"],
        "base",
        f"a model with fingerprint {fingerprint(base)}",
        f"the model that this head was trained on ({card['base']})",
    )
    head = HEADS[card["head"]](base, **card["settings"])
    path = folder / "head.safetensors"
    tensors, _ = read_tensors(path)
    wanted = {
        name: t.shape for name, t in head.state_dict().items() if not name.startswith("base.")
    }
    if {name: t.shape for name, t in tensors.items()} != wanted:
        raise ValueError(
            f"{path}: does not fit head.json; wants {', '.join(wanted)} in the shapes of its "
            "settings"
        )
    head.load_state_dict(tensors, strict=False)
    return head.to(device or base.device).eval(), tokenizer, tuple(card["label_names"])


def _require_plain(base: LanguageModel) -> None:
    with shapes_only():
        wanted = set(LanguageModel(base.config).state_dict())
    extra = sorted(set(base.state_dict()) ^ wanted)
    require(
        not extra,
        "head",
        f"a base with changed modules ({', '.join(extra[:2])})",
        "a plain LanguageModel: merge or detach its method first, and save the method by itself",
    )
