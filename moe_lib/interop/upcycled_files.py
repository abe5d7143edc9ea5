"""Upcycled models in folders: config.json and model.safetensors.

The model_type of the configuration is one that transformers does not know: it would fill the
experts' places with random numbers, and say so in a warning only.
"""

import json
from pathlib import Path

from torch import nn

from moe_lib.errors import require
from moe_lib.files import read_json, write_folder
from moe_lib.interop.dense_layers import feed_forwards
from moe_lib.interop.upcycling import SIZES, put_experts, upcycled_layers
from moe_lib.model_types import UPCYCLED_TYPE
from moe_lib.validation import PathLike, checked

_WEIGHTS = "model.safetensors"


@checked
def save_upcycled(model: nn.Module, folder: PathLike, tokenizer=None) -> Path:
    """Save what `upcycle_transformers` made, tuned or not, and a tokenizer of transformers beside
    it; returns the folder. `open_upcycled` and `moe_lib.opening.open_model` read it.

    Raises ValueError for a model that was not upcycled, OSError naming the folder if it cannot be
    written.
    """
    from safetensors.torch import save_model

    upcycled = any(True for _ in upcycled_layers(model)) and hasattr(model.config, "upcycled")
    require(upcycled, "model", type(model).__name__, "an upcycled model")
    fits = tokenizer is None or hasattr(tokenizer, "save_pretrained")
    require(fits, "tokenizer", tokenizer, "a tokenizer of transformers, or None", TypeError)
    folder = Path(folder)
    require(not folder.is_file(), "folder", str(folder), "a folder; this is a file")
    base = json.loads(model.config.to_json_string(use_diff=False))
    sizes = base.pop("upcycled")
    fields = {"model_type": UPCYCLED_TYPE, "architecture": type(model).__name__}
    fields |= {"upcycled": sizes, "base": base}

    def write(empty: Path) -> None:
        (empty / "config.json").write_text(json.dumps(fields, indent=1), encoding="utf-8")
        save_model(model, str(empty / _WEIGHTS))
        if tokenizer is not None:
            tokenizer.save_pretrained(empty)

    write_folder(folder, write)
    return folder


@checked
def open_upcycled(folder: PathLike) -> nn.Module:
    """The model that `save_upcycled` wrote, in eval mode on the CPU. Raises FileNotFoundError or
    ValueError naming the file that is missing or damaged."""
    import transformers
    from safetensors.torch import load_model

    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; wants a folder that save_upcycled wrote")
    fields = read_json(path)
    kind = fields.get("model_type")
    require(kind == UPCYCLED_TYPE, f"{path}: model_type", kind, repr(UPCYCLED_TYPE))
    name = fields.get("architecture")
    architecture = getattr(transformers, name, None) if isinstance(name, str) else None
    known = isinstance(architecture, type) and issubclass(
        architecture, transformers.PreTrainedModel
    )
    require(known, f"{path}: architecture", name, "a class of transformers")
    sizes = fields.get("upcycled")
    whole = isinstance(sizes, dict) and all(
        type(sizes.get(size)) is int and 0 < sizes[size] < 10_000 for size in SIZES
    )
    require(whole, f"{path}: upcycled", sizes, f"whole numbers named {', '.join(SIZES)}")
    try:
        model = architecture(architecture.config_class.from_dict(fields.get("base")))
        for layer in feed_forwards(model):
            put_experts(layer, *(sizes[size] for size in SIZES))
        model.config.upcycled = {size: sizes[size] for size in SIZES}
        dtype = model.config.dtype
        load_model(model.to(dtype) if dtype is not None else model, str(path.parent / _WEIGHTS))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.parent / _WEIGHTS}: missing") from error
    except Exception as error:  # configurations and files of others fail in ways of their own
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}: not a whole upcycled model ({said})") from error
    return model.eval()
