"""What a checkpoint must be, before it is written and before it is opened."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.files import read_shapes
from moe_lib.model import LanguageModel
from moe_lib.model_types import refuse_quantised
from moe_lib.shapes_only import shapes_only
from moe_lib.training.preflight import require_numbers

# No shape of the weights tells them, so no default may stand in for them.
NEEDED = ("causal", "num_attention_heads")
NEEDED_WITH_EXPERTS = ("num_experts_per_tok", "router")


def require_path(argument: str, path: object) -> None:
    fits = isinstance(path, str | os.PathLike) and str(path) != ""
    require(fits, argument, path, "the path of a folder", TypeError)


def require_plain(argument: str, model: object) -> None:
    """TypeError for anything but a LanguageModel, ValueError for one with changed modules: what it
    computes is not in a checkpoint."""
    kind = type(model).__name__
    require(isinstance(model, LanguageModel), argument, kind, "a moe_lib LanguageModel", TypeError)
    require_numbers(argument, model)
    with shapes_only():
        wanted = {name: t.shape for name, t in LanguageModel(model.config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in model.state_dict().items()}
    changed = sorted(name for name in {**found, **wanted} if found.get(name) != wanted.get(name))
    require(
        not changed,
        argument,
        f"a model with changed modules ({', '.join(changed[:2])})",
        "a plain LanguageModel: merge or detach its method first, and save the method by itself",
    )


def require_finite(argument: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        finite = not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
        require(finite, argument, f"a NaN or infinity in {name}", "finite weights")


def config_of(path: Path, fields: dict, model_type: str) -> ModelConfig:
    """The fields of a config.json as a ModelConfig. ValueError naming the file."""
    found = fields.pop("model_type", None)
    if found != model_type:
        refuse_quantised(path, found)
        raise ValueError(f'{path}: not a moe_lib checkpoint (its model_type is not "{model_type}")')
    needed = NEEDED + (NEEDED_WITH_EXPERTS if fields.get("n_routed_experts") else ())
    missing = [name for name in needed if name not in fields]
    if missing:
        raise ValueError(f"{path}: has no {', '.join(missing)}")
    try:
        return ModelConfig.from_dict(fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_sizes(path: Path, config: ModelConfig) -> None:
    """ValueError if a model of `config` is larger than the file: to be seen before memory is asked
    for."""
    shapes = read_shapes(path)
    wanted = (config.vocab_size, config.hidden_size)
    found = shapes.get("embedding.weight", wanted)  # if it is missing, check_tensors says so
    if found != wanted:
        raise ValueError(f"{path}: embedding.weight has shape {found}; wants {wanted}")
    n_layers = len({name.split(".")[1] for name in shapes if name.startswith("layers.")})
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    for name, size, limit in (
        ("num_hidden_layers", config.num_hidden_layers, n_layers),
        ("n_routed_experts", config.n_routed_experts, largest),
    ):
        if size > limit:
            raise ValueError(f"{path}: does not fit its config: {name} {size}, at most {limit}")


def check_tensors(path: Path, tensors: dict[str, Tensor], model: nn.Module) -> None:
    """ValueError naming the file if its tensors are not exactly those of `model`, or no weights."""
    wanted = model.state_dict()
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise ValueError(
            f"{path}: does not fit its config: missing {missing[:3]}, unexpected {unknown[:3]}"
        )
    for name, tensor in tensors.items():
        shape, floats = tuple(wanted[name].shape), wanted[name].is_floating_point()
        if tensor.shape != shape:
            raise ValueError(f"{path}: {name} has shape {tuple(tensor.shape)}; wants {shape}")
        if tensor.is_floating_point() != floats:
            wants = "floating-point" if floats else "whole"
            raise ValueError(f"{path}: {name} holds {tensor.dtype}; wants {wants} numbers")
        if floats and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: {name} holds a NaN or infinity")
        last = model.config.n_routed_experts - 1
        if not floats and bool(((tensor < 0) | (tensor > last)).any()):
            raise ValueError(f"{path}: {name} names experts outside 0 to {last}")
