"""A LanguageModel of ours in the files of transformers' DeepSeek-V2."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.files import write_json, write_tensors
from moe_lib.interop.configs import config_to_transformers
from moe_lib.interop.names import per_expert_pieces
from moe_lib.interop.sources import INDEX, WEIGHTS
from moe_lib.model import LanguageModel


def save_transformers(
    model: LanguageModel,
    folder: str | Path,
    tokenizer=None,
    *,
    max_shard_bytes: int = 5_000_000_000,
) -> Path:
    """Write `model` so that AutoModelForCausalLM.from_pretrained(folder) opens it; returns the
    folder.

    tokenizer        written beside it for AutoTokenizer; gives the model its start, end and padding
                     tokens
    max_shard_bytes  weights beyond this go into several files

    config.json, model.safetensors (or shards and their index) with one entry per expert, as the
    public checkpoints have it. Weight files of an older model in the folder are removed. Balance
    losses are stored, but transformers trains without them.

    Raises TypeError for another kind of model; ValueError naming a setting that transformers'
    DeepSeek-V2 cannot express, or a tokenizer with more tokens than the model.
    """
    require(
        isinstance(model, LanguageModel),
        "model",
        type(model).__name__,
        "a moe_lib LanguageModel",
        TypeError,
    )
    require_whole("max_shard_bytes", max_shard_bytes)
    official = config_to_transformers(model.config)
    official.dtype = model.embedding.weight.dtype
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
    written = _write_shards(list(_shards(model, max_shard_bytes)), folder)
    for path in folder.glob(
        "model*.safetensors*"
    ):  # transformers would prefer an older model's single file
        if path.name not in written:
            path.unlink()
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    write_json(folder / "config.json", official.to_dict())
    return folder


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


def _write_shards(shards: list[dict[str, Tensor]], folder: Path) -> set[str]:
    """Write one file per shard, and an index if there are several; returns the names of the
    files."""
    if len(shards) == 1:
        write_tensors(folder / WEIGHTS, shards[0], {"format": "pt"})
        return {WEIGHTS}
    home = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_tensors(folder / file, shard, {"format": "pt"})
        home |= dict.fromkeys(shard, file)
    size = sum(
        tensor.numel() * tensor.element_size() for shard in shards for tensor in shard.values()
    )
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": home})
    return {INDEX, *home.values()}
