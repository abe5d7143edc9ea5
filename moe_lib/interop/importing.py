"""transformers' DeepSeek-V2 as a LanguageModel of ours."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.files import finish_folder, read_json
from moe_lib.interop.configs import config_from_transformers
from moe_lib.interop.names import per_expert_pieces, stacked_name
from moe_lib.interop.sources import FolderSource, ModelSource
from moe_lib.model import LanguageModel
from moe_lib.shapes_only import shapes_only
from moe_lib.validation import PathLike, checked


@checked
def from_transformers(
    model_or_folder: "nn.Module | PathLike", dtype: torch.dtype | None = None
) -> LanguageModel:
    """A LanguageModel that gives the logits of transformers' DeepSeek-V2, in eval mode.

    model_or_folder  a DeepseekV2ForCausalLM (its weights are copied), or a folder with config.json
                     and safetensors files: one file or shards, one entry per expert or experts
                     stacked. A folder is read tensor by tensor, so the weights are in memory once.
                     No code in it is run; nothing is downloaded.
    dtype            type of the weights; None keeps the type they have

    Raises TypeError for another kind of model, FileNotFoundError and ValueError naming a file that
    is missing, damaged or does not fit its config, ValueError naming a setting that cannot be
    expressed (see `config_from_transformers`).
    """
    floating = dtype is None or dtype.is_floating_point and dtype.itemsize > 1
    require(floating, "dtype", dtype, "None, or a floating-point type of 16 or 32 bits")
    if not isinstance(model_or_folder, nn.Module):
        folder = Path(model_or_folder)
        finish_folder(folder)
        config = _read_config(folder)
        source = FolderSource(folder)
    else:
        from transformers import DeepseekV2ForCausalLM

        require(
            isinstance(model_or_folder, DeepseekV2ForCausalLM),
            "model_or_folder",
            type(model_or_folder).__name__,
            "transformers' DeepseekV2ForCausalLM, or a folder with one",
            TypeError,
        )
        config = config_from_transformers(model_or_folder.config)
        source = ModelSource(model_or_folder)
    with shapes_only():  # its weights are replaced at once
        model = LanguageModel(config)
    weights = _read_weights(source, model, dtype)
    if config.tie_word_embeddings:
        weights["head.weight"] = weights["embedding.weight"]
    model.load_state_dict(weights, assign=True)
    if config.tie_word_embeddings:  # assigned as two parameters
        model.head.weight = model.embedding.weight
    return model.requires_grad_(True).eval()


def _read_config(folder: Path) -> ModelConfig:
    from transformers import DeepseekV2Config

    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; wants a local folder of transformers' DeepSeek-V2"
        )
    fields = read_json(path)
    kind = fields.get("model_type")
    require(
        kind == "deepseek_v2",
        f"{path}: model_type",
        kind,
        '"deepseek_v2"' + ("; moe_lib.load_checkpoint reads this one" if kind == "moe_lib" else ""),
    )
    require(
        not fields.get("quantization_config"),
        f"{path}: quantization_config",
        "a quantised model",
        "plain weights, of 16 or 32 bits",
    )
    try:
        return config_from_transformers(DeepseekV2Config.from_dict(fields))
    except Exception as error:  # transformers' own checks raise classes of their own
        raise ValueError(f"{path}: {error}") from error


def _read_weights(
    source: ModelSource | FolderSource, model: LanguageModel, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Our state dict, filled piece by piece. ValueError if the names or shapes of `source` are not
    what is wanted."""
    unread, weights = set(source.names), {}
    wanted = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name != "head.weight" or not model.config.tie_word_embeddings
    }
    missing = [
        piece for name, tensor in wanted.items() for piece, _ in _pieces(name, tensor, unread)
    ]
    missing = [piece for piece in missing if piece not in unread]
    require(
        not missing,
        f"{source.label}: tensors",
        f"none named {', '.join(missing[:3])}",
        f"all of the model; {len(missing)} are missing",
    )
    for name, shape_only in wanted.items():
        target = None
        for piece, place in _pieces(name, shape_only, unread):
            tensor = source.get(piece)
            require(
                tensor.shape == place.shape,
                f"{source.label}: {piece}",
                tuple(tensor.shape),
                f"shape {tuple(place.shape)}",
            )
            _require_weights(f"{source.label}: {piece}", tensor)
            if target is None:
                target = torch.empty(
                    shape_only.shape, dtype=dtype or tensor.dtype, device=tensor.device
                )
                places = dict(_pieces(name, target, unread))
            places[piece].copy_(tensor)
            del tensor  # before the next one is read
        weights[name] = target
        unread -= places.keys()
    _check_unread(source, unread, weights, model.config)
    return weights


def _require_weights(place: str, tensor: Tensor) -> None:
    """Finite numbers of 16 bits or more; a quantised tensor means something only with its
    scales."""
    plain = tensor.is_floating_point() and tensor.element_size() > 1
    require(plain, place, tensor.dtype, "plain floating-point numbers, of 16 or 32 bits")
    require(bool(tensor.isfinite().all()), place, "a NaN or infinity", "finite numbers")


def _pieces(name: str, tensor: Tensor, there: set[str]) -> Iterator[tuple[str, Tensor]]:
    """The names that `there` uses for our parameter, with the part of `tensor` that each fills."""
    stacked = stacked_name(name)
    return iter([(stacked, tensor)]) if stacked in there else per_expert_pieces(name, tensor)


def _check_unread(
    source: ModelSource | FolderSource,
    unread: set[str],
    weights: dict[str, Tensor],
    config: ModelConfig,
) -> None:
    if config.tie_word_embeddings and "lm_head.weight" in unread:
        same = torch.equal(
            source.get("lm_head.weight").to(weights["embedding.weight"].dtype),
            weights["embedding.weight"],
        )
        require(
            same,
            f"{source.label}: lm_head.weight",
            "another matrix than the embedding",
            "the same one, as tie_word_embeddings is true",
        )
        unread = unread - {"lm_head.weight"}
    # old files keep the rotary speeds; "no shared experts" is an expert of width 0 there
    unread = {
        name
        for name in unread
        if not name.endswith("rotary_emb.inv_freq") and source.get(name).numel()
    }
    require(
        not unread,
        f"{source.label}: tensors",
        f"also {', '.join(sorted(unread)[:3])}",
        f"only those of the model; {len(unread)} have no place in it",
    )
