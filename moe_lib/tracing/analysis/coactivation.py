"""Which experts are chosen together, and how often they would be by chance."""

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.validation import Count, Natural, Seed, checked, whole


@checked
def coactivation(trace: RoutingTrace, index: Natural) -> Tensor:
    """Co-activation of OLMoE (arXiv 2409.02060): N_ij / N_i, (E, E), row i, column j; 1 on the
    diagonal.

    N_i is how many tokens chose expert i of layer `index`, N_ij how many chose both. All pairs
    among a token's k count (OLMoE's released script counts only pairs of neighbouring rank, 7 of
    28). Without the diagonal, a row sums to k − 1. The row of an expert that was never chosen is 0.
    """
    chosen = _chosen(trace.layer(index), trace.real)  # (tokens, E)
    together = chosen.T @ chosen
    return together / together.diagonal().clamp(min=1)[:, None]


@checked
def shuffle_partners(
    trace: RoutingTrace, seed: Seed = 0, rounds: Count | None = None
) -> RoutingTrace:
    """The control: who is chosen together is mixed, while every expert keeps its load and every
    token its k.

    Two tokens, drawn at random, exchange one choice each, unless one of them would then have an
    expert twice; and so on, `rounds` times for all tokens (10 per choice if None). This draws
    evenly from all tables with these loads: for top-k, experts cannot be independent, as a token
    takes each one once at most.

    Only `experts` is mixed; weights and scores no longer belong to it. Raises ValueError for a
    trace whose tokens have different numbers of experts.
    """
    generator = torch.Generator().manual_seed(seed)
    return replace(
        trace, layers=[_mixed(layer, trace.real, rounds, generator) for layer in trace.layers]
    )


@checked
def expected_coactivation(
    trace: RoutingTrace, index: Natural, shuffles: Annotated[int, whole(2)] = 10, seed: Seed = 0
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of `coactivation` over so many mixed traces (see
    `shuffle_partners`), (E, E) each."""
    one = trace.filter(layers=[index])
    mixed = torch.stack(
        [coactivation(shuffle_partners(one, seed * 1000 + n), index) for n in range(shuffles)]
    )
    return mixed.mean(0), mixed.std(0)


def _chosen(layer: LayerTrace, real: Tensor) -> Tensor:
    """(tokens, E) float64: 1 where a real token chose the expert."""
    used = layer.choices(real)[real]
    table = torch.zeros(len(used), layer.n_experts, dtype=torch.float64)
    return table.scatter_add_(1, layer.experts[real], used.double()).clamp(max=1)


def _mixed(
    layer: LayerTrace, real: Tensor, rounds: int | None, generator: torch.Generator
) -> LayerTrace:
    require(
        bool(layer.choices(real)[real].all()),
        "trace",
        f"layer {layer.index}, tokens with fewer than k experts",
        "k experts for every token",
    )
    experts = layer.experts[real].clone()  # (tokens, k)
    n, k = experts.shape
    for _ in range(10 * k if rounds is None else rounds):
        order = torch.randperm(n, generator=generator)
        one, other = order[: n // 2], order[n // 2 : n // 2 * 2]
        i, j = torch.randint(k, (2, n // 2), generator=generator)
        mine, yours = experts[one, i], experts[other, j]
        fits = ~(experts[one] == yours[:, None]).any(1) & ~(experts[other] == mine[:, None]).any(1)
        experts[one[fits], i[fits]], experts[other[fits], j[fits]] = yours[fits], mine[fits]
    whole = layer.experts.clone()
    whole[real] = experts
    return replace(layer, experts=whole)
