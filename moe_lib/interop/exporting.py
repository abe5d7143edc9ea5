"""A LanguageModel of ours in the files of transformers' DeepSeek-V2."""

import re
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from moe_lib.errors import require
from moe_lib.files import read_json, write_folder, write_json, write_tensors
from moe_lib.interop.configs import config_to_transformers
from moe_lib.interop.names import per_expert_pieces
from moe_lib.interop.sources import INDEX, WEIGHTS
from moe_lib.model import LanguageModel
from moe_lib.shapes_only import shapes_only
from moe_lib.validation import Count, PathLike, Tokenizer, checked

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


@checked
def save_transformers(
    model: LanguageModel,
    folder: PathLike,
    tokenizer: Tokenizer | None = None,
    *,
    max_shard_bytes: Count = 5_000_000_000,
) -> Path:
    """Write `model` so that AutoModelForCausalLM.from_pretrained(folder) opens it; returns the
    folder.

    tokenizer        written beside it for AutoTokenizer; gives the model its start, end and padding
                     tokens
    max_shard_bytes  weights beyond this go into several files

    config.json, model.safetensors (or shards and their index) with one entry per expert, as the
    public checkpoints have it. An older model in the folder is replaced, its shards are removed;
    all other files stay. A full disk or a kill leaves the old model. Balance losses are stored, but
    transformers trains without them.

    Raises TypeError for another kind of model; ValueError naming a setting that transformers'
    DeepSeek-V2 cannot express, a tokenizer with more tokens than the model, a model with weights
    that are not finite or with a method of tuning attached. OSError naming the folder if it cannot
    be written.
    """
    official = config_to_transformers(model.config)
    _require_plain(model)
    official.dtype = next(model.parameters()).dtype
    if tokenizer is not None:
        require(
            len(tokenizer) <= model.config.vocab_size,
            "tokenizer",
            f"{len(tokenizer)} tokens",
            f"at most vocab_size ({model.config.vocab_size})",
        )
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(official, name, getattr(tokenizer, name))
    folder = Path(folder)
    require(not folder.is_file(), "folder", str(folder), "a folder; this is a file")
    shards = list(_shards(model, max_shard_bytes))

    def write(aside: Path) -> None:
        _write_shards(shards, aside)
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)
        write_json(aside / "config.json", official.to_dict())

    # transformers would prefer an older model's single file
    write_folder(folder, write, instead_of=_old_weight_files(folder))
    return folder


def _require_plain(model: LanguageModel) -> None:
    """ValueError for a model whose tensors are not those of its configuration, or not finite."""
    with shapes_only():
        wanted = LanguageModel(model.config).state_dict()
    tensors = model.state_dict()
    require(
        wanted.keys() == tensors.keys(),
        "model",
        f"a model with {sorted(wanted.keys() ^ tensors.keys())[:3]} in or out of place",
        "a plain LanguageModel: merge or detach what is attached to it first",
    )
    for name, tensor in tensors.items():
        good = tensor.is_floating_point() and bool(tensor.isfinite().all())
        require(good, "model", f"{name} with a NaN, infinity or no floats", "finite weights")


def _old_weight_files(folder: Path) -> set[str]:
    """The weight files that a model saved there before consists of: no other file is ours."""
    try:
        listed = read_json(folder / INDEX).get("weight_map")
    except (OSError, ValueError):  # none, or one that nobody can read
        return {WEIGHTS}
    names = listed.values() if isinstance(listed, dict) else ()
    return {WEIGHTS, INDEX} | {str(name) for name in names if _SHARD.fullmatch(str(name))}


def their_tensors(model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of transformers' model under its name in files; views of ours, nothing is
    copied."""
    config = model.config
    for name, tensor in model.state_dict().items():
        if name != "head.weight" or not config.tie_word_embeddings:
            yield from per_expert_pieces(name, tensor)
    if config.n_shared_experts or config.mlp_bias:
        return
    for layer in range(
        config.num_hidden_layers
    ):  # there a layer without shared experts has one of width 0
        if config.is_moe_layer(layer):
            at, empty = (
                f"model.layers.{layer}.mlp.shared_experts",
                model.embedding.weight.detach()[:0],
            )
            yield f"{at}.gate_proj.weight", empty.clone()
            yield f"{at}.up_proj.weight", empty.clone()
            yield f"{at}.down_proj.weight", empty.T.clone()


def _shards(model: LanguageModel, max_bytes: int) -> Iterator[dict[str, Tensor]]:
    """Their tensors in groups of at most max_bytes, except that one tensor alone may have more."""
    shard, size = {}, 0
    for name, tensor in their_tensors(model):
        bytes_here = tensor.numel() * tensor.element_size()
        if shard and size + bytes_here > max_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += bytes_here
    yield shard


def _write_shards(shards: list[dict[str, Tensor]], folder: Path) -> None:
    """Write one file per shard, and an index if there are several."""
    if len(shards) == 1:
        write_tensors(folder / WEIGHTS, shards[0], {"format": "pt"})
        return
    home = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_tensors(folder / file, shard, {"format": "pt"})
        home |= dict.fromkeys(shard, file)
    size = sum(
        tensor.numel() * tensor.element_size() for shard in shards for tensor in shard.values()
    )
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": home})
