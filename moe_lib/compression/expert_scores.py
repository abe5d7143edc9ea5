"""What an expert is worth, by four ways of asking: how often it is chosen, the weight it is given,
how much it adds to the residual stream, and what the model loses without it.

- usage      times it is chosen
- gate_mass  the sum of its weights
- reap       the mean, over the tokens that chose it, of weight · ‖FFN_e(x)‖₂: router-weighted
             expert activation pruning (Lasby et al. 2025, arXiv 2510.13999; the mean is over these
             tokens alone and the norm is of the output before weighting, as in `observer.py` of
             the repository CerebrasResearch/reap)
- ablation   nats per token that the loss rises when the expert cannot be chosen: `ablation_scores`
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.compression.expert_layers import expert_layers
from moe_lib.model.experts import swiglu
from moe_lib.modules import as_written, bare, eval_mode
from moe_lib.tracing.analysis.importance import rises_without, text_losses
from moe_lib.tracing.traced_inputs import check_ids
from moe_lib.validation import Choice, Seed, checked

CRITERIA = ("usage", "gate_mass", "reap")
_ROWS = 32  # texts per pass

Scores = Mapping[int, Tensor]  # {layer: (E,) float64}: the larger, the more an expert is worth


@dataclass(frozen=True)
class ExpertScores:
    """Sums over the real tokens of a text: {layer: (E,) float64} each.

    usage        times each expert was chosen (and not dropped)
    gate_mass    the sum of its weights
    gated_norm   the sum of weight · ‖FFN_e(x)‖₂
    """

    usage: Scores
    gate_mass: Scores
    gated_norm: Scores

    @checked
    def by(self, criterion: Choice(*CRITERIA)) -> dict[int, Tensor]:
        """{layer: (E,) float64} by one of `CRITERIA`; 0 for an expert that nothing chose."""
        if criterion != "reap":
            return dict(getattr(self, criterion))
        return {
            layer: self.gated_norm[layer] / self.usage[layer].clamp(min=1) for layer in self.usage
        }


@checked
@torch.no_grad()
def expert_scores(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> ExpertScores:
    """Let `model` (a LanguageModel) read input_ids (batch, sequence) in eval mode and add up what
    its experts do. attention_mask (batch, sequence): padding counts for nothing.

    Raises TypeError for another model, ValueError for a dense one and for ids that do not fit.
    """
    layers = expert_layers(model)
    check_ids(bare(model), input_ids, attention_mask)
    names = ("usage", "gate_mass", "gated_norm")
    sums = {
        name: {
            index: torch.zeros(layer.router.n_routed_experts).double()
            for index, layer in layers.items()
        }
        for name in names
    }

    def add(index: int, x: Tensor, routing, real: Tensor) -> None:
        experts = layers[index].experts
        for e in range(routing.n_experts):
            token, rank = torch.where((routing.experts == e) & routing.kept & real[:, None])
            if len(token):
                weights = routing.weights[token, rank].double()  # (n,)
                output = swiglu(x[token], experts.gate_up_proj[e], experts.down_proj[e])  # (n, d)
                norms = output.double().norm(dim=-1)  # (n,)
                found = (len(token), weights.sum(), (weights * norms).sum())
                for name, value in zip(names, found, strict=True):
                    sums[name][index][e] += float(value)

    each_pass(model, layers, input_ids, attention_mask, add)
    return ExpertScores(**sums)


@checked
def ablation_scores(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    progress: Callable = iter,
) -> dict[int, Tensor]:
    """{layer: (E,) float64}: by how many nats per predicted token the loss of a causal model rises
    when one expert alone cannot be chosen and its tokens take their next best.

    As many passes as there are experts. progress wraps them, e.g. `tqdm`. Raises as
    `expert_scores`, and ValueError for a masked model.
    """
    layers = expert_layers(model)
    one = [
        (index, e) for index, layer in layers.items() for e in range(layer.router.n_routed_experts)
    ]
    off = [{index: [e]} for index, e in one]
    rises = rises_without(model, off, input_ids, attention_mask, progress)  # (experts, batch)
    tokens = text_losses(model, input_ids, attention_mask)[1].sum()
    found = iter((rises.sum(1) / tokens).tolist())
    return {
        index: torch.tensor([next(found) for _ in range(layer.router.n_routed_experts)]).double()
        for index, layer in layers.items()
    }


@checked
def random_scores(model: nn.Module, seed: Seed) -> dict[int, Tensor]:
    """{layer: (E,) float64}: a chance order of the experts, the floor of every criterion."""
    draw = torch.Generator().manual_seed(seed)
    return {
        index: torch.randperm(layer.router.n_routed_experts, generator=draw).double()
        for index, layer in expert_layers(model).items()
    }


def each_pass(
    model, layers, input_ids: Tensor, attention_mask: Tensor | None, see: Callable
) -> None:
    """Read the texts a few at a time; see(layer, x (tokens, d), routing, real (tokens,)) is called
    with what the experts of each layer get."""
    model = bare(model)
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    real = torch.empty(0)

    def hook(index: int):
        return lambda module, args: see(index, *args, real)

    with eval_mode(model), as_written(), _hooked(layers, hook):
        for ids, few in zip(input_ids.split(_ROWS), mask.split(_ROWS), strict=True):
            real = few.bool().flatten().to(model.device)  # (tokens,)
            model(ids.to(model.device), None if attention_mask is None else few.to(model.device))


@contextmanager
def _hooked(layers, hook: Callable) -> Iterator[None]:
    handles = [layer.experts.register_forward_pre_hook(hook(i)) for i, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
