"""Model checkpoints: config.json + model.safetensors (+ tokenizer.json). Nothing is ever
unpickled."""

import os
from pathlib import Path

import torch

from moe_lib.devices import usable_device
from moe_lib.errors import require
from moe_lib.files import (
    finish_folder,
    read_json,
    read_tensors,
    write_folder,
    write_json,
    write_tensors,
)
from moe_lib.model import LanguageModel
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import bare
from moe_lib.paths import CHECKPOINTS
from moe_lib.shapes_only import shapes_only
from moe_lib.text import load_tokenizer
from moe_lib.training import checkpoint_checks
from moe_lib.validation import PathLike, checked

MODEL_TYPE = "moe_lib"


@checked
def save_checkpoint(
    model, folder: PathLike, tokenizer=None, dtype: torch.dtype | None = None
) -> Path:
    """Write config.json and model.safetensors (and the tokenizer's files) into `folder`; returns
    the folder. They are replaced together: a full disk leaves the old ones.

    dtype  store the weights in this floating-point type, e.g. torch.bfloat16 for half the size;
           None keeps the model's own

    Raises TypeError or ValueError for anything that could not be opened again: another model, one
    with a method attached, weights that are not finite.
    """
    model = bare(model)
    checkpoint_checks.require_plain("model", model)
    wants = "None or a floating-point type such as torch.bfloat16"
    require(dtype is None or isinstance(dtype, torch.dtype), "dtype", dtype, wants, TypeError)
    require(dtype is None or dtype.is_floating_point, "dtype", dtype, wants)
    saves = tokenizer is None or hasattr(tokenizer, "save_pretrained")
    require(saves, "tokenizer", type(tokenizer).__name__, "a tokenizer of transformers", TypeError)
    check_vocabulary(tokenizer, model.config)
    tensors = model.state_dict()
    if model.config.tie_word_embeddings:
        del tensors["head.weight"]  # the same matrix as the embedding
    # buffers (a router's bias or table) keep their type: they move in small steps
    weights = dict(model.named_parameters())
    tensors = {
        name: tensor.to(dtype) if name in weights else tensor for name, tensor in tensors.items()
    }
    checkpoint_checks.require_finite("model", tensors)

    def write(aside: Path) -> None:
        write_tensors(aside / "model.safetensors", tensors)
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)
        write_json(aside / "config.json", {"model_type": MODEL_TYPE, **model.config.to_dict()})

    write_folder(Path(folder), write)
    return Path(folder)


@checked
def load_checkpoint(name_or_folder: PathLike, device: str | torch.device | None = None):
    """Read a checkpoint -> (model, tokenizer). A name of data/checkpoints/, or any folder.

    The model comes in float32 and eval mode, on `device` (the CPU if None); the tokenizer is None
    if the folder has none. Raises FileNotFoundError for a folder or file that is missing,
    ValueError naming the file for one that is damaged, not ours, or does not fit its config.
    """
    device = usable_device(device)
    folder = find_checkpoint(name_or_folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists():
            wants = "a checkpoint is a folder with config.json and model.safetensors"
            raise FileNotFoundError(f"{folder / name}: missing; {wants}")
    config = checkpoint_checks.config_of(
        folder / "config.json", read_json(folder / "config.json"), MODEL_TYPE
    )
    path = folder / "model.safetensors"
    checkpoint_checks.check_sizes(path, config)
    tensors, _ = read_tensors(path)
    if config.tie_word_embeddings and "embedding.weight" in tensors:
        head = tensors.setdefault("head.weight", tensors["embedding.weight"])
        if not torch.equal(head, tensors["embedding.weight"]):
            raise ValueError(f"{path}: head.weight is not embedding.weight, to which it is tied")
    with shapes_only():  # its weights are replaced at once
        model = LanguageModel(config)
    checkpoint_checks.check_tensors(path, tensors, model)
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    model.load_state_dict(tensors, assign=True)
    if config.tie_word_embeddings:
        model.head.weight = model.embedding.weight
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").exists() else None
    try:
        check_vocabulary(tokenizer, config)
    except ValueError as error:
        raise ValueError(f"{folder / 'tokenizer.json'}: {error}") from error
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.to(device).eval(), tokenizer


@checked
def find_checkpoint(name_or_folder: PathLike) -> Path:
    """The folder of a checkpoint, by its name in data/checkpoints/ or by its path."""
    for folder in (CHECKPOINTS / os.fspath(name_or_folder), Path(name_or_folder)):
        if folder.is_dir():
            finish_folder(folder)
            return folder
    known = sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))
    raise FileNotFoundError(
        f"{name_or_folder}: no such checkpoint; wants a folder or one of: "
        f"{', '.join(known) or 'none'}"
    )
