"""Guess the experts of a layer before its router has spoken, so that they can be on their way.

Whatever guesses is judged by its recall: the share of the experts that were needed among those that
were guessed. Guessing m of E by chance has recall m/E. `simulate_expert_cache(prefetch=…)` plays
the guesses.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from moe_lib.errors import require, require_one_of
from moe_lib.model import LanguageModel, MoELayer
from moe_lib.modules import bare, eval_mode
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.tracing.traced_inputs import check_ids
from moe_lib.validation import Count, checked, require_tensor

KINDS = ("popular", "last_token", "transition", "next_router")


@checked
def guess_experts(
    trace: RoutingTrace,
    kind: str,
    number: Count,
    *,
    fitted_on: RoutingTrace | None = None,
    model: LanguageModel | None = None,
) -> dict[int, Tensor]:
    """`number` guesses for every token and layer: layer number -> (tokens, number) int64, the real
    tokens in order, the likeliest first.

    kind       "popular": the most used experts of the layer in `fitted_on`;
               "last_token": those of the token before (at the first one: the popular ones);
               "transition": the likeliest given this token's experts one MoE layer earlier, by a
               table counted on `fitted_on`, the probabilities given each of them added up;
               "next_router": what the layer's router says of the hidden state one MoE layer
               earlier, as it enters that layer's feed-forward norm (Eliseev and Mazur 2023, arXiv
               2312.17238, guess so): `model` reads the trace's texts again
    fitted_on  a trace of other text, of the same layers; all but "next_router" need it

    With the last two the first MoE layer has no guess. Raises ValueError for a kind without what it
    needs, more guesses than experts ("last_token", "next_router": than experts per token), and a
    model that did not make the trace.
    """
    require_one_of("kind", kind, KINDS)
    largest = min(layer.n_experts for layer in trace.layers)
    if kind in ("last_token", "next_router"):
        largest = min(layer.experts.shape[-1] for layer in trace.layers)
    require(number <= largest, "number", number, f"at most {largest} guesses with {kind!r}")
    if kind == "next_router":
        require(model is not None, "model", None, "the model of the trace, for 'next_router'")
        return _next_router(trace, number, model)
    require(fitted_on is not None, "fitted_on", None, f"a trace of other text, for {kind!r}")
    layers = [(layer.index, layer.n_experts) for layer in trace.layers]
    found = [(layer.index, layer.n_experts) for layer in fitted_on.layers]
    require(found == layers, "fitted_on", found, f"the layers and experts of the trace: {layers}")
    if kind == "transition":
        return _transition(trace, number, fitted_on)
    popular = {
        layer.index: _needs(fitted_on, layer).sum(0).argsort(descending=True, stable=True)[:number]
        for layer in fitted_on.layers
    }
    tokens = int(trace.real.sum())
    if kind == "popular":
        return {index: best.expand(tokens, -1) for index, best in popular.items()}
    return {
        layer.index: torch.cat(
            [popular[layer.index][None], layer.experts[trace.real][:-1, :number]]
        )[:tokens]
        for layer in trace.layers
    }


@checked
def guess_recall(trace: RoutingTrace, guesses: Mapping[int, Tensor]) -> dict[int, float]:
    """Layer number -> share of the experts needed there that were among the guesses.

    guesses  layer number -> (tokens, m) experts, as `guess_experts` gives them. Raises ValueError
    for guesses of another shape, or for a layer that the trace does not have.
    """
    recall = {}
    for index, guessed in guesses.items():
        layer = trace.layer(index)
        needs = _needs(trace, layer)  # (tokens, E)
        name = f"guesses[{index}]"
        require_tensor(name, guessed, (len(needs), "m"), "whole", low=0, high=layer.n_experts - 1)
        hit = torch.zeros_like(needs).scatter(1, guessed, 1.0) * needs
        recall[index] = float(hit.sum() / needs.sum().clamp_min(1))
    return recall


def _needs(trace: RoutingTrace, layer: LayerTrace) -> Tensor:
    """(tokens, E) float: 1 where a real token needs an expert."""
    used = layer.choices(trace.real)
    used = (used if layer.kept is None else used & layer.kept)[trace.real]  # (tokens, k)
    rows = torch.zeros(len(used), layer.n_experts)
    return rows.scatter_add(1, layer.experts[trace.real], used.float())


def _transition(trace: RoutingTrace, number: int, fitted_on: RoutingTrace) -> dict[int, Tensor]:
    guesses = {}
    fits = [_needs(fitted_on, layer) for layer in fitted_on.layers]
    for place, layer in enumerate(trace.layers[1:], start=1):
        before, after = fits[place - 1], fits[place]
        table = before.T @ after / before.sum(0).clamp_min(1)[:, None]  # (E, E): p(after | before)
        scores = _needs(trace, trace.layers[place - 1]) @ table  # (tokens, E)
        guesses[layer.index] = scores.topk(number).indices
    return guesses


@torch.no_grad()
def _next_router(trace: RoutingTrace, number: int, model: LanguageModel) -> dict[int, Tensor]:
    model = bare(model)
    check_ids(model, trace.input_ids.clamp_min(0), trace.real.long())
    known = bool((trace.input_ids[trace.real] >= 0).all())
    require(known, "trace", "tokens of unknown numbers (-1)", "the token ids that the model read")
    blocks, found = model.layers, [layer.index for layer in trace.layers]
    routed = [n for n, one in enumerate(blocks) if isinstance(one.feed_forward, MoELayer)]
    require(found == routed, "model", f"MoE layers {routed}", f"those of the trace: {found}")
    streams: dict[int, Tensor] = {}
    handles = [
        blocks[index].feed_forward_norm.register_forward_pre_hook(
            lambda _, inputs, index=index: streams.update({index: inputs[0]})
        )
        for index in routed
    ]
    ids, real = trace.input_ids.clamp_min(0).to(model.device), trace.real.to(model.device)
    try:
        with eval_mode(model):
            model(ids, real.long())
            return {
                index: _early(blocks[index], streams[before], ids, real, number)
                for before, index in zip(routed, routed[1:], strict=False)
            }
    finally:
        for handle in handles:
            handle.remove()


def _early(block, stream: Tensor, ids: Tensor, real: Tensor, number: int) -> Tensor:
    """The choice that a block's router would make of an earlier hidden state (batch, sequence,
    hidden_size)."""
    hidden = block.feed_forward_norm(stream).flatten(0, 1)
    routing = block.feed_forward.router(hidden, ids.flatten(), real.flatten(), len(ids))
    return routing.experts.view(*ids.shape, -1)[real][:, :number].cpu()
