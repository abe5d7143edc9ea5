"""A task head on disk: a checkpoint folder of its base, and head.safetensors and head.json beside
it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from moe_lib.errors import require
from moe_lib.files import (
    finish_folder,
    read_json,
    read_tensors,
    require_fields,
    require_only,
    require_weights,
    write_folder,
    write_json,
    write_tensors,
)
from moe_lib.model import LanguageModel
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import bare
from moe_lib.training import load_checkpoint, save_checkpoint
from moe_lib.training.checkpoint_checks import require_finite, require_plain
from moe_lib.tuning.arguments import Device, Model
from moe_lib.tuning.heads import HEADS
from moe_lib.tuning.task_head import TaskHead
from moe_lib.validation import Flag, PathLike, Texts, Tokenizer, checked

KIND = "moe_lib head"


@checked
def fingerprint(model: Model) -> str:
    """A short name of exactly these weights: 16 hex digits of SHA-256 over the config and every
    tensor.

    Another seed, one more training step or an unmerged adapter gives another one. Weights are taken
    in float32.
    """
    model = bare(model)
    config = model.config.to_dict()
    if config["mlp_layer_types"] is None:  # a later field: names given before it stay as they were
        del config["mlp_layer_types"]
    digest = hashlib.sha256(repr(sorted(config.items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).contiguous()
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@checked
def save_head(
    head: TaskHead,
    folder: PathLike,
    tokenizer: Tokenizer | None = None,
    *,
    label_names: Texts = (),
    with_base: Flag = True,
) -> Path:
    """Write the head into `folder`, and its base as a checkpoint; returns the folder.

    with_base=False leaves the base out, where it is a checkpoint of its own that was not changed:
    `load_head` then needs it, and refuses another. label_names are kept in head.json.
    Raises ValueError if a method is still attached to the base: merge or detach it first.
    """
    kind = type(head).__name__
    require(kind in HEADS, "head", kind, f"one of {', '.join(HEADS)}", TypeError)
    require_plain("head", head.base)
    own = {name: part for name, part in head.state_dict().items() if not name.startswith("base.")}
    require_finite("head", own)
    check_vocabulary(tokenizer, head.config)
    _check_names("label_names", label_names, head.settings)
    card = {
        "kind": KIND,
        "head": kind,
        "settings": head.settings,
        "label_names": list(label_names),
        "base": fingerprint(head.base),
    }

    def write(aside: Path) -> None:
        if with_base:
            save_checkpoint(head.base, aside, tokenizer)
        write_tensors(aside / "head.safetensors", own, {"kind": KIND})
        write_json(aside / "head.json", card)

    write_folder(Path(folder), write)
    return Path(folder)


@checked
def load_head(folder: PathLike, base: LanguageModel | None = None, device: Device = None):
    """Read what `save_head` wrote -> (head in eval mode, tokenizer or None, label names).

    base   the model it was trained on, if the folder holds none. Raises FileNotFoundError naming a
           missing file, ValueError for a damaged one and for a base with other weights than those
           the head was trained on.
    """
    folder = Path(folder)
    finish_folder(folder)
    for name in ("head.json", "head.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name}: missing; save_head writes head.json and head.safetensors"
            )
    path = folder / "head.json"
    card = read_json(path)
    if card.get("kind") != KIND or str(card.get("head")) not in HEADS:
        raise ValueError(f"{path}: not a head of moe_lib, one of {', '.join(HEADS)}")
    require_fields(path, card, settings=dict, label_names=list, base=str)
    require_only(path, card, "kind", "head", "settings", "label_names", "base")
    _check_names(f"{path}: label_names", card["label_names"], card["settings"])
    tokenizer = None
    if base is None:
        base, tokenizer = load_checkpoint(folder, device)
    require_plain("base", base)
    require(
        fingerprint(base) == card["base"],
        "base",
        f"a model with fingerprint {fingerprint(base)}",
        f"the model that this head was trained on ({card['base']})",
    )
    try:
        head = HEADS[card["head"]](base, **card["settings"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: settings: {error}") from error
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
    require_weights(path, tensors)
    head.load_state_dict(tensors, strict=False)
    return head.to(device or base.device).eval(), tokenizer, tuple(card["label_names"])


def _check_names(argument: str, names: Sequence, settings: dict) -> None:
    """Names of labels are distinct texts, one for each of the head's labels; or there are none."""
    require(all(isinstance(name, str) for name in names), argument, names, "texts")
    require(len(set(names)) == len(names), argument, names, "each name once")
    n_labels = settings.get("n_labels", len(names))
    wants = f"a name for each of the {n_labels} labels, or none"
    require(len(names) in (0, n_labels), argument, names, wants)
