"""Merging experts two by two: half the experts are stored, and the router keeps all its choices.

The router is left as it is; both experts of a pair lead to one (as M-SMoE does it, Li et al. 2024,
arXiv 2310.01334). Which two belong together is said by a distance:

- router   1 − cosine of their rows in the router: who is asked by the same tokens
- output   mean ‖FFN_a(x) − FFN_b(x)‖² over all tokens, over the mean of both squared norms: who
           gives the same answers
- merged   the error that the merger itself makes, measured: Σ weight² · ‖FFN_ab(x) − FFN_e(x)‖²
           over the tokens that chose e, of both e

The best pairing has the smallest sum of distances of all (Edmonds' matching, by networkx). Two
experts are merged neuron by neuron: those of the second are put into the order in which they fit
those of the first best, then the mean is taken, weighted by usage.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from moe_lib.compression.expert_layers import expert_layers
from moe_lib.compression.expert_scores import each_pass, expert_scores
from moe_lib.errors import require
from moe_lib.model import LanguageModel, Routing
from moe_lib.model.experts import Experts, swiglu
from moe_lib.modules import bare
from moe_lib.tracing.traced_inputs import check_ids
from moe_lib.validation import Choice, Count, Seed, checked, require_tensor

METRICS = ("router", "output", "merged")
Pairs = Sequence[tuple[int, int]]


class MergedExperts(Experts):
    """n stored experts that answer for E: `place` (E,) int64 says which one answers for each."""

    @checked
    def __init__(self, gate_up_proj: Tensor, down_proj: Tensor, place: Tensor):
        """gate_up_proj (n, 2I, d), down_proj (n, d, I), place (E,) of 0 to n − 1"""
        require_tensor("gate_up_proj", gate_up_proj, ("n", "2I", "d"), "floating")
        n, width, hidden = gate_up_proj.shape
        require_tensor("down_proj", down_proj, (n, hidden, width // 2), "floating")
        require_tensor("place", place, ("E",), torch.int64, low=0, high=n - 1)
        super().__init__(n, hidden, width // 2)
        self.gate_up_proj, self.down_proj = nn.Parameter(gate_up_proj), nn.Parameter(down_proj)
        self.register_buffer("place", place)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d), routing among E -> (tokens, d)"""
        n = len(self.gate_up_proj)
        # Only the choice and the weights are read from here on: columns of scores are cut to size.
        fewer = dict(scores=routing.scores[:, :n], logits=routing.logits[:, :n])
        return super().forward(x, replace(routing, experts=self.place[routing.experts], **fewer))


@checked
@torch.no_grad()
def expert_distances(
    model: nn.Module,
    metric: Choice(*METRICS),
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
) -> dict[int, Tensor]:
    """{layer: (E, E) float64}, symmetric, 0 on the diagonal: how far apart experts are on this text
    (batch, sequence). Raises as `expert_scores`."""
    layers = expert_layers(model)
    check_ids(bare(model), input_ids, attention_mask)
    if metric == "router":
        return {index: _router_distances(layer.router) for index, layer in layers.items()}
    usage = expert_scores(model, input_ids, attention_mask).usage
    found = {index: torch.zeros(2, len(row), len(row)).double() for index, row in usage.items()}

    def add(index: int, x: Tensor, routing: Routing, real: Tensor) -> None:
        experts, x = layers[index].experts, x[real]
        given = torch.zeros(len(real), routing.n_experts, dtype=x.dtype, device=x.device)
        given = given.scatter_add(1, routing.experts, routing.weights.to(x.dtype) * routing.kept)
        outputs = [
            swiglu(x, *two) for two in zip(experts.gate_up_proj, experts.down_proj, strict=True)
        ]
        if metric == "merged":
            found[index][0] += _merging_errors(experts, outputs, x, given[real], usage[index])
            return
        stacked = torch.stack(outputs).double().flatten(1).cpu()  # (E, tokens · d)
        norms = stacked.square().sum(1)
        found[index][0] += norms[:, None] + norms - 2 * stacked @ stacked.T
        found[index][1] += (norms[:, None] + norms) / 2

    each_pass(model, layers, input_ids, attention_mask, add)
    if metric == "output":
        found = {
            index: torch.stack((a.clamp(min=0) / b.clamp(min=1e-30), b))
            for index, (a, b) in found.items()
        }
    return {index: sums[0].fill_diagonal_(0) for index, sums in found.items()}


def _router_distances(router: nn.Module) -> Tensor:
    wants = "a router with one row of logits per expert"
    require(getattr(router, "weight", None) is not None, "model", type(router).__name__, wants)
    rows = nn.functional.normalize(router.weight.detach().double().cpu(), dim=-1)  # (E, d)
    return (1 - rows @ rows.T).clamp(min=0).fill_diagonal_(0)


def _merging_errors(experts: Experts, outputs, x: Tensor, given: Tensor, usage: Tensor) -> Tensor:
    """(E, E): what merging each two would cost on x (tokens, d); given (tokens, E): weights."""
    errors = torch.zeros(len(outputs), len(outputs)).double()
    for a in range(len(outputs)):
        for b in range(a):
            rows = (given[:, [a, b]] != 0).any(1)  # (tokens,)
            if bool(rows.any()):
                merged = swiglu(x[rows], *merge_two(experts, a, b, usage))
                for e in (a, b):
                    missed = (merged - outputs[e][rows]) * given[rows, e, None]
                    errors[a, b] += float(missed.double().square().sum())
                errors[b, a] = errors[a, b]
    return errors


@torch.no_grad()
def merge_two(experts: Experts, a: int, b: int, usage: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean of experts a and b, neurons of b in the order of those of a: gate_up (2I,
    d), down (d, I). usage (E,): their weights, equal if both are 0."""
    from scipy.optimize import linear_sum_assignment

    def neurons(e: int) -> Tensor:  # a neuron: its rows of gate and up, its column of down
        gate, up = experts.gate_up_proj[e].chunk(2)
        return torch.cat((gate, up, experts.down_proj[e].T), dim=1)  # (I, 3d)

    first, second = neurons(a), neurons(b)
    likeness = (first @ second.T).double().cpu().numpy()  # (I, I)
    order = torch.as_tensor(linear_sum_assignment(likeness, maximize=True)[1], device=first.device)
    total = float(usage[a] + usage[b])
    share = float(usage[a]) / total if total else 0.5
    gate, up, down = (share * first + (1 - share) * second[order]).chunk(3, dim=1)  # (I, d) each
    return torch.cat((gate, up)), down.T.contiguous()


@checked
def best_pairs(distances: Tensor) -> list[tuple[int, int]]:
    """The pairing of E experts, (E, E) distances, whose sum is the smallest of all: E / 2 pairs, in
    order. ValueError for an odd E, or a matrix that is not symmetric."""
    import networkx

    require_tensor("distances", distances, ("E", "E"), "floating", finite=True)
    symmetric = bool(torch.allclose(distances, distances.T))
    require(symmetric, "distances", "a matrix that is not symmetric", "one that is")
    require(len(distances) % 2 == 0, "distances", f"{len(distances)} experts", "an even number")
    graph = networkx.Graph()
    table = distances.tolist()
    graph.add_weighted_edges_from((a, b, table[a][b]) for a in range(len(table)) for b in range(a))
    return sorted(tuple(sorted(pair)) for pair in networkx.min_weight_matching(graph))


@checked
def random_pairs(n_experts: Count, seed: Seed) -> list[tuple[int, int]]:
    """Pairs by chance: what every distance has to beat. ValueError for an odd number."""
    require(n_experts % 2 == 0, "n_experts", n_experts, "an even number")
    order = torch.randperm(n_experts, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(tuple(sorted(pair)) for pair in zip(order[::2], order[1::2], strict=True))


@checked
@torch.no_grad()
def merge_experts(
    model: nn.Module, pairs: Mapping[int, list[tuple[int, int]]], usage: Mapping[int, Tensor]
) -> LanguageModel:
    """A copy of `model` whose experts are merged by `pairs`, {layer: pairs}, weighted by usage
    {layer: (E,)}. Layers that are not named stay.

    Raises TypeError for another model; ValueError for a layer without experts, or pairs in which an
    expert is missing or stands twice.
    """
    layers = expert_layers(model)
    known = set(pairs) <= set(layers)
    require(known, "pairs", sorted(pairs), f"some of the layers {sorted(layers)}")
    merged = copy.deepcopy(bare(model))
    for index, chosen in pairs.items():
        total = layers[index].router.n_routed_experts
        flat = sorted(e for pair in chosen for e in pair)
        wants = f"each expert from 0 to {total - 1} once"
        require(flat == list(range(total)), f"pairs[{index}]", chosen, wants)
        require(index in usage, "usage", sorted(usage), f"layer {index} as well")
        require_tensor(f"usage[{index}]", usage[index], (total,), "floating", low=0, finite=True)
        two = [merge_two(layers[index].experts, a, b, usage[index]) for a, b in chosen]
        place = torch.empty(total, dtype=torch.int64, device=two[0][0].device)
        for number, pair in enumerate(chosen):
            place[list(pair)] = number
        stacked = (torch.stack(part) for part in zip(*two, strict=True))
        merged.layers[index].feed_forward.experts = MergedExperts(*stacked, place)
    return merged.eval()
