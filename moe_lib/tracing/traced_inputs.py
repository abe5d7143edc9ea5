"""What a language model is given to read: which model it is, its device, its token ids."""

import inspect

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel
from moe_lib.model_inputs import require_real
from moe_lib.modules import bare
from moe_lib.validation import require_tensor


def n_layers(model: nn.Module) -> int | None:
    """Layers of the model, dense ones included."""
    config = text_config(model)
    found = getattr(config, "num_hidden_layers", getattr(config, "num_layers", None))
    return found if isinstance(found, int) else None


def text_reader(model: nn.Module) -> nn.Module:
    """The part of a Hugging Face model that reads a text by itself: all of it, or the encoder."""
    two_parts = getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "get_encoder")
    return model.get_encoder() if two_parts else model


def forward_inputs(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None) -> dict:
    device = input_device(model)
    inputs = {"input_ids": input_ids.to(device)}
    if attention_mask is not None:
        inputs["attention_mask"] = attention_mask.to(device)
    if "use_cache" in inspect.signature(model.forward).parameters:
        inputs["use_cache"] = False
    return inputs


def input_device(model: nn.Module) -> torch.device:
    """Where the token ids go: to the embedding, the first module of a model that is spread over
    devices."""
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    weights = [*embedding.parameters()] if embedding is not None else []
    places = [p.device for p in (*weights, *model.parameters()) if p.device.type != "meta"]
    return places[0] if places else torch.device("cpu")


def plain_model(model: nn.Module) -> nn.Module:
    """The language model behind all wrappers. TypeError or ValueError for something else, or one
    without experts."""
    model = bare(model)
    known = isinstance(model, nn.Module) and hasattr(model, "config")
    wants = "a moe_lib LanguageModel or a model of transformers"
    require(known, "model", type(model).__name__, wants, TypeError)
    dense = isinstance(model, LanguageModel) and not any(
        model.config.is_moe_layer(layer) for layer in range(model.config.num_hidden_layers)
    )
    require(not dense, "model", "a dense model", "a model with experts (n_routed_experts above 0)")
    return model


def check_ids(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None) -> None:
    """Token ids that the model has, in a batch that is not empty, and a mask of 0 and 1."""
    last = n_tokens(model)
    require_tensor(
        "input_ids",
        input_ids,
        shape=("batch", "sequence"),
        dtype=(torch.int64, torch.int32),
        low=0,
        high=None if last is None else last - 1,
    )
    require(input_ids.numel() > 0, "input_ids", tuple(input_ids.shape), "at least one token")
    if attention_mask is not None:
        kinds = ("whole", bool)
        require_tensor("attention_mask", attention_mask, input_ids.shape, kinds, low=0, high=1)
        require_real(attention_mask)


def n_tokens(model: nn.Module) -> int | None:
    """How many token ids the model has rows for; None if it does not say."""
    config = text_config(model)
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    found = getattr(embedding, "num_embeddings", getattr(config, "vocab_size", None))
    return found if isinstance(found, int) else None


def text_config(model: nn.Module):
    """The part of the configuration that speaks of text, in a model that also sees or hears."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def check_layer(layer: object) -> None:
    """The fields of a LayerTrace by themselves."""
    require(isinstance(layer.name, str), "name", layer.name, "a text", TypeError)
    require_whole("index", layer.index, at_least=0)
    require_whole("n_experts", layer.n_experts)
    require_tensor("experts", layer.experts)


def check_layers(argument: str, layers: object, kind: type, shape: tuple[int, int]) -> None:
    """The layers of a trace: of the class `kind`, with experts of every token (batch, sequence)."""
    require(isinstance(layers, list | tuple), argument, layers, "a list of LayerTrace", TypeError)
    for place, layer in enumerate(layers):
        require(isinstance(layer, kind), f"{argument}[{place}]", layer, "a LayerTrace", TypeError)
        name, last = f"{layer.name} experts", layer.n_experts - 1
        require_tensor(name, layer.experts, (*shape, "k"), "whole", low=0, high=last)
