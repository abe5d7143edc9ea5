"""Traces to compare a cache's hit rate with: the same tokens in another order, and chance."""

from dataclasses import replace

import torch

from moe_lib.errors import require
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.validation import Count, Flag, Seed, checked


@checked
def shuffled(trace: RoutingTrace, seed: Seed = 0) -> RoutingTrace:
    """All real tokens of a trace in a random order, as one text: each expert is as popular as
    before, and who follows whom is chance. All layers in the same order.

    A hit rate above this control's is due to the order of the text; what the control has above
    `uniform` is due to popularity. Raises ValueError for a trace without real tokens.
    """
    tokens = int(trace.real.sum())
    require(tokens > 0, "trace", "no real token", "at least one")
    order = torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))

    def mixed(layer: LayerTrace) -> LayerTrace:
        parts = {name: part[trace.real][order][None] for name, part in layer.tensors().items()}
        return replace(layer, **parts)

    return RoutingTrace(
        [mixed(layer) for layer in trace.layers],
        trace.input_ids[trace.real][order][None],
        torch.ones(1, tokens, dtype=torch.bool),
        None,
        tuple(mixed(layer) for layer in trace.attention_layers),
        trace.n_layers,
    )


@checked
def uniform(trace: RoutingTrace, seed: Seed = 0) -> RoutingTrace:
    """A trace of the same shape whose every token chooses its k experts by chance, all sets
    equally likely: what a cache gains by its size alone. Weights and scores are left out."""
    random = torch.Generator().manual_seed(seed)

    def drawn(layer: LayerTrace) -> LayerTrace:
        k = layer.experts.shape[-1]
        noise = torch.rand(*layer.experts.shape[:-1], layer.n_experts, generator=random)
        return replace(layer, experts=noise.topk(k, dim=-1).indices, weights=None, scores=None)

    return replace(trace, layers=[drawn(layer) for layer in trace.layers], attention_layers=())


@checked
def distinct_experts(
    trace: RoutingTrace,
    tokens: Count,
    *,
    neighbours: Flag = False,
    draws: Count = 64,
    seed: Seed = 0,
) -> dict[int, float]:
    """Layer number -> experts that at least one of `tokens` tokens chose, on average over `draws`.

    neighbours  False: tokens drawn from all over the trace, as a batch of unlike requests has them;
                True: tokens that follow each other, as in a prompt or a verified draft

    `moe_lib.counting.expected_distinct_experts` says what chance alone would give. Raises
    ValueError for more tokens than the trace has.
    """
    there = int(trace.real.sum())
    require(tokens <= there, "tokens", tokens, f"at most the trace's {there} real tokens")
    random = torch.Generator().manual_seed(seed)
    if neighbours:
        starts = torch.randint(0, there - tokens + 1, (draws,), generator=random)
        rows = starts[:, None] + torch.arange(tokens)  # (draws, tokens)
    else:
        rows = torch.stack([torch.randperm(there, generator=random)[:tokens] for _ in range(draws)])
    found = {}
    for layer in trace.layers:
        used = layer.choices(trace.real)
        used = (used if layer.kept is None else used & layer.kept)[trace.real]  # (real tokens, k)
        chosen = torch.zeros(there, layer.n_experts)
        chosen = chosen.scatter_add(1, layer.experts[trace.real], used.float()) > 0
        found[layer.index] = float(chosen[rows].any(1).sum(-1).float().mean())
    return found
