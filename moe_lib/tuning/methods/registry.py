"""All methods by name: read a saved one, count one without building it."""

from pathlib import Path

import torch

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.files import (
    finish_folder,
    read_json,
    read_tensors,
    require_fields,
    require_only,
    require_weights,
)
from moe_lib.model import LanguageModel
from moe_lib.tuning.methods.adalora import AdaLoRA
from moe_lib.tuning.methods.base import CARD, KIND, Attached, Method, attached_to
from moe_lib.tuning.methods.esft import ESFT
from moe_lib.tuning.methods.houlsby import Houlsby
from moe_lib.tuning.methods.lora import LoRA
from moe_lib.tuning.methods.prefix import Prefix
from moe_lib.tuning.methods.subsets import AddedBias, BiasOnly, Full, HeadOnly, RouterOnly
from moe_lib.tuning.saving import fingerprint
from moe_lib.validation import PathLike, checked

METHODS: dict[str, type[Method]] = {
    cls.__name__: cls
    for cls in (
        LoRA,
        AdaLoRA,
        Houlsby,
        Prefix,
        ESFT,
        Full,
        HeadOnly,
        RouterOnly,
        BiasOnly,
        AddedBias,
    )
}


@checked
def load_adapter(folder: PathLike, model: LanguageModel) -> Attached:
    """Attach to `model` what `Attached.save` wrote into `folder`.

    Raises FileNotFoundError naming a missing file; ValueError for a damaged one, and for a base
    with other weights than those that the method was trained on, naming the fingerprints of both.
    """
    folder = Path(folder)
    finish_folder(folder)
    for name in ("adapter.json", "adapter.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name}: missing; save() writes adapter.json and adapter.safetensors"
            )
    card = read_json(folder / "adapter.json")
    if card.get("kind") != KIND or str(card.get("method")) not in METHODS:
        raise ValueError(
            f"{folder / 'adapter.json'}: not an adapter of moe_lib, one of {', '.join(METHODS)}"
        )
    require_fields(folder / "adapter.json", card, settings=dict, base=str, n_trainable=int)
    require_only(folder / "adapter.json", card, *CARD)
    here = fingerprint(model)
    require(
        here == card["base"],
        "model",
        f"a model with fingerprint {here}",
        f"the base that this {card['method']} was trained on ({card['base']})",
    )
    path = folder / "adapter.safetensors"
    saved, _ = read_tensors(path)
    require_weights(path, {name: t for name, t in saved.items() if t.dtype != torch.bool})
    try:
        method = METHODS[card["method"]](**_with_tuples(card["settings"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'adapter.json'}: settings: {error}") from error
    try:
        attached = method.attach(model)
    except ValueError as error:
        if attached_to(model) is not None:  # another method is in the way
            raise
        raise ValueError(f"{folder / 'adapter.json'}: settings: {error}") from error
    tensors = attached.tensors()
    shapes = {name: (t.shape, t.is_floating_point()) for name, t in tensors.items()}
    if {name: (t.shape, t.is_floating_point()) for name, t in saved.items()} != shapes:
        attached.detach()
        raise ValueError(f"{path}: does not fit the settings in adapter.json")
    if card["n_trainable"] != attached.n_trainable:
        wants = f"{attached.n_trainable}, as its settings say"
        attached.detach()
        got = card["n_trainable"]
        raise ValueError(f"{folder / 'adapter.json'}: n_trainable: got {got!r}; wants {wants}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])
    return attached


@checked
def count_trainable(method: Method, config: ModelConfig) -> int:
    """Trained numbers of `method` on a model of this config, by its formula: nothing is built or
    attached.

    Raises ValueError where the method does not fit the config (LoRA on experts of a dense model,
    say).
    """
    return method.count(config)


def _with_tuples(value):
    """JSON's lists as the tuples they were."""
    if isinstance(value, list):
        return tuple(_with_tuples(entry) for entry in value)
    return (
        {name: _with_tuples(entry) for name, entry in value.items()}
        if isinstance(value, dict)
        else value
    )
