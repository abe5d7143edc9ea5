"""Record the routing of a model while it reads or writes."""

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel, Routing
from moe_lib.modules import eval_mode
from moe_lib.tracing.families import warn_of_nllb
from moe_lib.tracing.hugging_face import layer_traces, watching
from moe_lib.tracing.trace import LayerTrace, RoutingTrace


def trace_routing(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> RoutingTrace:
    """Run `model` once over input_ids (batch, sequence), in eval mode, and return who was sent
    where.

    model           a LanguageModel, or any Mixture-of-Experts model of transformers; of an
                    encoder-decoder, the encoder is traced
    attention_mask  (batch, sequence), 1 at real tokens; padding is routed like everything else but
                    marked in the trace and left out of its counts

    The inputs go to the device of the model, the trace comes back on the CPU. The training mode of
    every module is restored and all hooks are removed, also after an error.

    Raises TypeError for something that is no language model; ValueError, naming the class, for a
    model without experts or one in which no router was called, and for bad input ids.
    """
    return traced_forward(model, input_ids, attention_mask)[0]


@torch.no_grad()
def traced_forward(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> tuple[RoutingTrace, Any]:
    """`trace_routing`, and the model's output besides."""
    _check_model(model)
    _check_ids(input_ids, attention_mask)
    real = (
        torch.ones(input_ids.shape, dtype=torch.bool)
        if attention_mask is None
        else attention_mask.bool().cpu()
    )
    with eval_mode(model):
        if isinstance(model, LanguageModel):
            output = model(
                *(None if t is None else t.to(model.device) for t in (input_ids, attention_mask))
            )
            layers = _own_layers(model, [output.routing], *input_ids.shape)
            return RoutingTrace(layers, input_ids.cpu(), real, n_layers=_n_layers(model)), output
        reader = _reader(model)
        warn_of_nllb(model)
        with watching(model) as places:
            output = reader(**_inputs(reader, input_ids, attention_mask))
        layers, attention = layer_traces(model, places, *input_ids.shape)
    return RoutingTrace(layers, input_ids.cpu(), real, None, attention, _n_layers(model)), output


@torch.no_grad()
def trace_generation(
    model: nn.Module,
    input_ids: Tensor,
    max_new_tokens: int,
    *,
    attention_mask: Tensor | None = None,
    **options,
) -> tuple[Tensor, RoutingTrace]:
    """Let a causal `model` continue input_ids (batch, prompt) and trace the prompt and every token
    it writes.

    attention_mask  (batch, prompt), for prompts padded on the left
    options         of the model's `generate`, e.g. temperature, or do_sample in transformers

    Returns (ids (batch, prompt + new), the trace of all of them but the last: nothing has read that
    one yet). What stands behind a row's end token is padding. Raises ValueError for beam search or
    generating without a cache, where a token is routed more than once, and what `trace_routing`
    raises.
    """
    _check_model(model)
    _check_ids(input_ids, attention_mask)
    require_whole("max_new_tokens", max_new_tokens)
    for name, allowed in (("use_cache", True), ("num_beams", 1), ("num_return_sequences", 1)):
        require(
            options.get(name, allowed) == allowed,
            name,
            options.get(name),
            f"{allowed}: each token read once",
        )
    with eval_mode(model):
        run = _generate_own if isinstance(model, LanguageModel) else _generate_other
        ids, layers, attention, stops = run(
            model, input_ids, attention_mask, max_new_tokens, options
        )
    prompt, ids = input_ids.shape[1], ids.cpu()
    real = torch.ones(ids.shape, dtype=torch.bool)
    if attention_mask is not None:
        real[:, :prompt] = attention_mask.bool().cpu()
    if stops:
        ended = torch.isin(ids[:, prompt:], torch.tensor(sorted(stops)))
        real[:, prompt:] = ended.cumsum(1) - ended.long() == 0  # up to and with the first end token
    return ids, RoutingTrace(layers, ids[:, :-1], real[:, :-1], None, attention, _n_layers(model))


def _generate_own(model: LanguageModel, input_ids, attention_mask, max_new_tokens, options):
    steps: list[list[Routing | None]] = []
    handle = model.register_forward_hook(lambda module, args, output: steps.append(output.routing))
    mask = None if attention_mask is None else attention_mask.to(model.device)
    try:
        ids = model.generate(
            input_ids.to(model.device), max_new_tokens, attention_mask=mask, **options
        )
    finally:
        handle.remove()
    stops = set(options.get("stop_token_ids", ()))
    return ids, _own_layers(model, steps, len(ids), ids.shape[1] - 1), (), stops


def _generate_other(model: nn.Module, input_ids, attention_mask, max_new_tokens, options):
    require(
        hasattr(model, "generate"),
        "model",
        type(model).__name__,
        "a model that can generate",
        TypeError,
    )
    decoder_only = not getattr(model.config, "is_encoder_decoder", False)
    require(decoder_only, "model", f"{type(model).__name__}, an encoder-decoder", "a causal model")
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    device = _input_device(model)
    with watching(model) as places:
        ids = model.generate(
            input_ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens,
            **{**options, "use_cache": True},
        )
    layers, attention = layer_traces(model, places, len(ids), ids.shape[1] - 1)
    settings = getattr(model, "generation_config", None)
    stops = options.get("eos_token_id", getattr(settings, "eos_token_id", None))
    return ids, layers, attention, set([stops] if isinstance(stops, int) else stops or ())


def _own_layers(
    model: LanguageModel, steps: list[list[Routing | None]], batch: int, length: int
) -> list[LayerTrace]:
    """A LayerTrace per MoE layer of our own model, from the routing of one forward pass or of
    several in a row."""
    moe_layers = [index for index, routing in enumerate(steps[0]) if routing is not None]
    require(
        bool(moe_layers),
        "model",
        "a dense model",
        "a model with experts (n_routed_experts above 0)",
    )
    traces = [
        _own_layer(index, [step[index] for step in steps], batch, length) for index in moe_layers
    ]
    n_shared = model.config.n_shared_experts
    routers = [model.layers[index].feed_forward.router for index in moe_layers]
    return [
        replace(trace, shared=n_shared > 0, n_shared=n_shared, **_groups(router))
        for trace, router in zip(traces, routers, strict=True)
    ]


def _own_layer(index: int, steps: list[Routing], batch: int, length: int) -> LayerTrace:
    def whole(part: str) -> Tensor:
        return torch.cat(
            [getattr(step, part).view(batch, -1, getattr(step, part).shape[-1]) for step in steps],
            1,
        )

    tensors = {part: whole(part).cpu() for part in ("experts", "weights", "scores")}
    require(
        tensors["experts"].shape[1] == length,
        "model",
        f"{tensors['experts'].shape[1]} positions routed",
        f"{length}, each once",
    )
    for part in ("kept", "chosen"):
        if all(getattr(step, part) is not None for step in steps):
            tensors[part] = whole(part).cpu()
    return LayerTrace(f"layers.{index}.feed_forward", index, steps[0].n_experts, **tensors)


def _groups(router: nn.Module) -> dict[str, int]:
    """The groups that limit a router's choice, if they do."""
    used = router.topk_group
    return {"n_group": router.n_group, "topk_group": used} if used < router.n_group else {}


def _n_layers(model: nn.Module) -> int | None:
    """Layers of the model, dense ones included."""
    config = (
        model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    )
    found = getattr(config, "num_hidden_layers", getattr(config, "num_layers", None))
    return found if isinstance(found, int) else None


def _reader(model: nn.Module) -> nn.Module:
    """The part of a Hugging Face model that reads a text by itself: all of it, or the encoder."""
    two_parts = getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "get_encoder")
    return model.get_encoder() if two_parts else model


def _inputs(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None) -> dict:
    device = _input_device(model)
    inputs = {"input_ids": input_ids.to(device)}
    if attention_mask is not None:
        inputs["attention_mask"] = attention_mask.to(device)
    if "use_cache" in inspect.signature(model.forward).parameters:
        inputs["use_cache"] = False
    return inputs


def _input_device(model: nn.Module) -> torch.device:
    """Where the token ids go: to the embedding, the first module of a model that is spread over
    devices."""
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    weights = [*embedding.parameters()] if embedding is not None else []
    places = [p.device for p in (*weights, *model.parameters()) if p.device.type != "meta"]
    return places[0] if places else torch.device("cpu")


def _check_model(model) -> None:
    known = isinstance(model, nn.Module) and hasattr(model, "config")
    require(
        known,
        "model",
        type(model).__name__,
        "a moe_lib LanguageModel or a model of transformers",
        TypeError,
    )
    dense = isinstance(model, LanguageModel) and not any(
        model.config.is_moe_layer(layer) for layer in range(model.config.num_hidden_layers)
    )
    require(not dense, "model", "a dense model", "a model with experts (n_routed_experts above 0)")


def _check_ids(input_ids, attention_mask) -> None:
    whole = isinstance(input_ids, Tensor) and input_ids.dtype in (torch.int64, torch.int32)
    require(
        whole,
        "input_ids",
        getattr(input_ids, "dtype", type(input_ids).__name__),
        "an integer tensor",
        TypeError,
    )
    require(
        input_ids.dim() == 2 and input_ids.numel() > 0,
        "input_ids",
        tuple(input_ids.shape),
        "shape (batch, sequence), neither 0",
    )
    if attention_mask is not None:
        same = getattr(attention_mask, "shape", None) == input_ids.shape
        require(
            same,
            "attention_mask",
            tuple(getattr(attention_mask, "shape", ())),
            f"the shape of input_ids, {tuple(input_ids.shape)}",
        )
