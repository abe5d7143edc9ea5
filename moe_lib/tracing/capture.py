"""Record the routing of a model while it reads or writes."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel, Routing
from moe_lib.modules import as_written, bare, eval_mode
from moe_lib.tracing.families import warn_of_nllb
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.tracing.traced_inputs import (
    check_ids,
    forward_inputs,
    input_device,
    n_layers,
    plain_model,
    text_reader,
)
from moe_lib.tracing.watching import layer_traces, watching
from moe_lib.validation import Count, checked
from moe_lib.validation.blocks import token_ids


@checked
def trace_routing(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> RoutingTrace:
    """Run `model` once over input_ids (batch, sequence), in eval mode, and return who was sent
    where.

    model           a LanguageModel, or any Mixture-of-Experts model of transformers, also
                    compiled or with adapters of peft; of an encoder-decoder, the encoder is traced
    attention_mask  (batch, sequence), 1 at real tokens; padding is routed like everything else but
                    marked in the trace and left out of its counts

    The inputs go to the device of the model, the trace comes back on the CPU. The training mode of
    every module is restored and all hooks are removed, also after an error.

    Raises TypeError for something that is no language model; ValueError, naming the class, for a
    model without experts, one in which no router was called, or one that gives NaN, and for bad
    input ids.
    """
    return traced_forward(model, input_ids, attention_mask)[0]


@torch.no_grad()
def traced_forward(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> tuple[RoutingTrace, Any]:
    """`trace_routing`, and the model's output besides."""
    model = plain_model(model)
    check_ids(model, input_ids, attention_mask)
    real = (
        torch.ones(input_ids.shape, dtype=torch.bool)
        if attention_mask is None
        else attention_mask.bool().cpu()
    )
    attention = ()
    with eval_mode(model), as_written():
        if isinstance(model, LanguageModel):
            output = run_as_read(model, input_ids, attention_mask)
            layers = _own_layers(model, [output.routing], *input_ids.shape)
        else:
            warn_of_nllb(model)
            with watching(model) as watched:
                output = run_as_read(model, input_ids, attention_mask)
            layers, attention = layer_traces(model, watched, *input_ids.shape)
    return _trace(model, layers, attention, input_ids.cpu(), real), output


@torch.no_grad()
def run_as_read(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None) -> Any:
    """The output of `model` for a text, in eval mode: one pass without a cache; of an
    encoder-decoder, the encoder's."""
    with eval_mode(model), as_written():
        if isinstance(model, LanguageModel):
            inputs = (input_ids, attention_mask)
            return model(*(None if t is None else t.to(model.device) for t in inputs))
        reader = text_reader(model)
        return reader(**forward_inputs(reader, input_ids, attention_mask))


def _trace(model: nn.Module, layers: list, attention: tuple, ids: Tensor, real: Tensor):
    """The trace of finite numbers. ValueError for a model whose routers gave something else."""
    parts = [_finite(layer, real) for layer in (*layers, *attention)]
    own, attention = parts[: len(layers)], tuple(parts[len(layers) :])
    return RoutingTrace(own, ids, real, None, attention, n_layers(model))


def _finite(layer: LayerTrace, real: Tensor) -> LayerTrace:
    """At padding, where some models compute nothing sensible, 0 for what is no number."""
    for part in ("weights", "scores"):
        bad = ~getattr(layer, part).isfinite()
        require(
            not bad[real].any(),
            "model",
            f"NaN or infinity as {part} of the experts in {layer.name}",
            "a model that computes finite numbers",
        )
        if bad.any():
            layer = replace(layer, **{part: getattr(layer, part).masked_fill(bad, 0)})
    return layer


@checked
@torch.no_grad()
def trace_generation(
    model: nn.Module,
    input_ids: Tensor,
    max_new_tokens: Count,
    *,
    attention_mask: Tensor | None = None,
    **options,
) -> tuple[Tensor, RoutingTrace]:
    """Let a causal `model` continue input_ids (batch, prompt) and trace the prompt and every token
    it writes.

    attention_mask  (batch, prompt), for prompts padded on the left
    options         of the model's `generate`, e.g. temperature, or do_sample in transformers

    Returns (ids (batch, prompt + new), the trace of all of them but the last: nothing has read that
    one yet). What stands behind a row's end token is padding. Raises ValueError for beam search,
    generating without a cache and other ways to route a token more than once, also where the
    model's own generation_config asks for them, and what `trace_routing` raises.
    """
    model = plain_model(model)
    check_ids(model, input_ids, attention_mask)
    _check_options(model, options)
    with eval_mode(model), as_written():
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
    return ids, _trace(model, layers, attention, ids[:, :-1], real[:, :-1])


# Settings of `generate` with which a token is not read exactly once, and what they must be.
_ONCE = {
    "use_cache": True,
    "num_beams": 1,
    "num_return_sequences": 1,
    "penalty_alpha": None,
    "guidance_scale": 1,
    "prompt_lookup_num_tokens": None,
    "assistant_model": None,
    "return_dict_in_generate": False,
}


def _check_options(model: nn.Module, options: dict) -> None:
    """ValueError naming a setting of `_ONCE`, whether it is an argument or the model's own."""
    settings = _generation_settings(model, options)
    for name, allowed in _ONCE.items():
        found = options.get(name)
        if found is None and name != "use_cache":  # which is always asked for
            found = getattr(settings, name, None)
        fits = found is None or found == allowed
        require(fits, name, found, f"{allowed}, as each token is to be read once")


def _generation_settings(model: nn.Module, options: dict):
    return options.get("generation_config") or getattr(model, "generation_config", None)


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
    stops = set(token_ids(options.get("stop_token_ids", ())))
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
    device = input_device(model)
    with watching(model) as watched:
        ids = model.generate(
            input_ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens,
            **{**options, "use_cache": True},
        )
    layers, attention = layer_traces(model, watched, len(ids), ids.shape[1] - 1)
    settings = _generation_settings(model, options)
    stops = options.get("eos_token_id", getattr(settings, "eos_token_id", None))
    return ids, layers, attention, set(() if stops is None else token_ids(stops))


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
    blocks = [bare(model.layers[index].feed_forward) for index in moe_layers]
    routers = [bare(block.router) for block in blocks]
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
