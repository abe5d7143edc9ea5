"""Model checkpoints: config.json + model.safetensors (+ tokenizer.json). Nothing is ever
unpickled."""

from pathlib import Path

import torch
from torch import nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.files import read_json, read_tensors, write_json, write_tensors
from moe_lib.model import LanguageModel
from moe_lib.paths import CHECKPOINTS
from moe_lib.shapes_only import shapes_only
from moe_lib.text import load_tokenizer

MODEL_TYPE = "moe_lib"


def save_checkpoint(
    model: LanguageModel, folder: str | Path, tokenizer=None, dtype: torch.dtype | None = None
) -> Path:
    """Write config.json and model.safetensors (and the tokenizer's files) into `folder`; returns
    the folder.

    dtype  store the weights in this type, e.g. torch.bfloat16 for half the size; None keeps the
           model's own
    """
    require(
        isinstance(model, LanguageModel),
        "model",
        type(model).__name__,
        "a moe_lib LanguageModel",
        TypeError,
    )
    folder = Path(folder)
    tensors = model.state_dict()
    if model.config.tie_word_embeddings:
        del tensors["head.weight"]  # the same matrix as the embedding
    weights = dict(
        model.named_parameters()
    )  # buffers (a router's bias or table) keep their type: they move in small steps
    tensors = {
        name: tensor.to(dtype) if name in weights else tensor for name, tensor in tensors.items()
    }
    write_tensors(folder / "model.safetensors", tensors)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    write_json(folder / "config.json", {"model_type": MODEL_TYPE, **model.config.to_dict()})
    return folder


def load_checkpoint(name_or_folder: str | Path, device: str | torch.device | None = None):
    """Read a checkpoint -> (model, tokenizer). A name of data/checkpoints/, or any folder.

    The model comes in float32 and eval mode, on `device` (the CPU if None); the tokenizer is None
    if the folder has none. Raises FileNotFoundError for a folder or file that is missing,
    ValueError naming the file for one that is damaged, not ours, or does not fit its config.
    """
    folder = find_checkpoint(name_or_folder)
    config = _read_config(folder / "config.json")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; a checkpoint is a folder with config.json and model.safetensors"
        )
    tensors, _ = read_tensors(path)
    if config.tie_word_embeddings and "embedding.weight" in tensors:
        tensors["head.weight"] = tensors["embedding.weight"]
    with shapes_only():  # its weights are replaced at once
        model = LanguageModel(config)
    check_tensors(path, tensors, model)
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    model.load_state_dict(tensors, assign=True)
    if config.tie_word_embeddings:
        model.head.weight = model.embedding.weight
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.to(device).eval(), tokenizer


def find_checkpoint(name_or_folder: str | Path) -> Path:
    """The folder of a checkpoint, by its name in data/checkpoints/ or by its path."""
    for folder in (CHECKPOINTS / name_or_folder, Path(name_or_folder)):
        if folder.is_dir():
            return folder
    known = sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))
    raise FileNotFoundError(
        f"{name_or_folder}: no such checkpoint; wants a folder or one of: "
        f"{', '.join(known) or 'none'}"
    )


def check_tensors(path: Path, tensors: dict, model: nn.Module) -> None:
    """ValueError naming the file if its tensors are not exactly those of `model`."""
    wanted = model.state_dict()
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise ValueError(
            f"{path}: does not fit its config: missing {missing[:3]}, unexpected {unknown[:3]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(tensor.shape)}; wants {tuple(wanted[name].shape)}"
            )


def _read_config(path: Path) -> ModelConfig:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; a checkpoint is a folder with config.json and model.safetensors"
        )
    fields = read_json(path)
    if fields.pop("model_type", None) != MODEL_TYPE:
        raise ValueError(f'{path}: not a moe_lib checkpoint (its model_type is not "{MODEL_TYPE}")')
    try:
        return ModelConfig.from_dict(fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
