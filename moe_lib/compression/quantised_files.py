"""Quantised checkpoints: config.json + model.safetensors with packed bits (+ tokenizer.json).

A weight NAME of few bits is three tensors: NAME.packed, NAME.scale and NAME.zero; config.json says
under "quantised" its bits, group size and shape. All other tensors are as in a plain checkpoint.
"""

from pathlib import Path
from typing import Any

import torch

from moe_lib.compression.quantising import QuantisedModel, model_of, part_of, stored_tensors
from moe_lib.compression.rounding import QuantisedWeight
from moe_lib.devices import usable_device
from moe_lib.errors import require
from moe_lib.files import read_json, read_tensors, write_folder, write_json, write_tensors
from moe_lib.model import LanguageModel
from moe_lib.model_inputs import check_vocabulary
from moe_lib.model_types import QUANTISED_TYPE
from moe_lib.shapes_only import shapes_only
from moe_lib.text import load_tokenizer
from moe_lib.training import find_checkpoint
from moe_lib.training.checkpoint_checks import check_tensors, config_of
from moe_lib.validation import Count, PathLike, checked, checked_value

_PARTS = ("packed", "scale", "zero")


@checked
def save_quantised(quantised: QuantisedModel, folder: PathLike, tokenizer: Any = None) -> Path:
    """Write a QuantisedModel, and the tokenizer's files, into `folder`; returns the folder. They
    are replaced together. ValueError for a tokenizer of another vocabulary."""
    saves = tokenizer is None or hasattr(tokenizer, "save_pretrained")
    require(saves, "tokenizer", type(tokenizer).__name__, "a tokenizer of transformers", TypeError)
    check_vocabulary(tokenizer, quantised.model.config)
    tensors = {}
    for name, tensor in stored_tensors(quantised.model).items():
        weight = quantised.weights.get(name)
        parts = {name: tensor}
        if weight is not None:
            parts = {f"{name}.{part}": getattr(weight, part) for part in _PARTS}
        tensors |= parts
    about = {
        name: {"bits": weight.bits, "group_size": weight.group_size, "shape": list(weight.shape)}
        for name, weight in quantised.weights.items()
    }
    fields = {"model_type": QUANTISED_TYPE, **quantised.model.config.to_dict(), "quantised": about}

    def write(aside: Path) -> None:
        write_tensors(aside / "model.safetensors", tensors)
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)
        write_json(aside / "config.json", fields)

    write_folder(Path(folder), write)
    return Path(folder)


@checked
def load_quantised(folder: PathLike, device: str | torch.device | None = None) -> tuple:
    """Read what `save_quantised` wrote -> (QuantisedModel, tokenizer or None), on `device` (the CPU
    if None).

    Raises FileNotFoundError for a folder or file that is missing, ValueError naming the file for
    one that is damaged, or a plain checkpoint.
    """
    device, folder = usable_device(device), find_checkpoint(folder)
    path, file = folder / "config.json", folder / "model.safetensors"
    fields = read_json(path)
    if fields.get("model_type") == "moe_lib":
        raise ValueError(f"{path}: a plain checkpoint; wants moe_lib.load_checkpoint to open it")
    about = fields.pop("quantised", {})
    config = config_of(path, fields, QUANTISED_TYPE)
    stored, _ = read_tensors(file)
    with shapes_only():
        empty = LanguageModel(config)
    weights = _weights(path, file, about, stored, stored_tensors(empty))
    packed = {f"{name}.{part}" for name in weights for part in _PARTS}
    tensors = {name: tensor for name, tensor in stored.items() if name not in packed}
    full = tensors | {name: weight.dequantised() for name, weight in weights.items()}
    if config.tie_word_embeddings and "embedding.weight" in full:
        full.setdefault("head.weight", full["embedding.weight"])
    check_tensors(file, full, empty)
    model = model_of(config, tensors, weights)
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").exists() else None
    try:
        check_vocabulary(tokenizer, config)
    except ValueError as error:
        raise ValueError(f"{folder / 'tokenizer.json'}: {error}") from error
    return QuantisedModel(model.to(device), weights), tokenizer


def _weights(path: Path, file: Path, about: object, stored: dict, wanted: dict) -> dict:
    if not isinstance(about, dict) or not about:
        raise ValueError(f"{path}: has no 'quantised' with the weights that are")
    weights = {}
    for name, facts in about.items():
        if name not in wanted or part_of(name, wanted[name]) is None:
            raise ValueError(f"{path}: 'quantised': no weight {name!r} in a model of this config")
        shape = tuple(wanted[name].shape)
        place = f"{path}: 'quantised': {name}"
        if not isinstance(facts, dict) or facts.get("shape") != list(shape):
            raise ValueError(
                f"{place}: got {facts}; wants bits, group_size and shape {list(shape)}"
            )
        try:
            sizes = [
                checked_value(f"{place}: {n}", facts.get(n), Count) for n in ("bits", "group_size")
            ]
        except TypeError as error:
            raise ValueError(str(error)) from error
        try:
            parts = [stored[f"{name}.{part}"] for part in _PARTS]
        except KeyError as error:
            raise ValueError(f"{file}: does not fit its config: missing {error}") from error
        try:
            weights[name] = QuantisedWeight(*parts, shape, *sizes)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: {name}: {error}") from error
    return weights
