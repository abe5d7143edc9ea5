"""Does the same text get the same experts, however it is read? In another mode, with a cache, in a
batch, in few bits."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.compression.expert_layers import expert_layers
from moe_lib.errors import require
from moe_lib.model import KVCache, LanguageModel, Routing
from moe_lib.model_inputs import check_ids
from moe_lib.modules import bare, eval_mode
from moe_lib.validation import checked


@dataclass(frozen=True)
class Agreement:
    """How far two readings of one text agree on its experts, over all MoE layers.

    tokens    tokens times layers
    flipped   of them, those whose set of experts differs
    dropped   choices that the second reading drops for want of room
    change    the largest change of an affinity (of `Routing.scores`)
    margin    the smallest distance, in the first reading, between the last expert chosen and the
              first that is not, in affinities with the selection bias, if there is one; nan where
              something else has chosen (groups, noise, a table)
    """

    tokens: int
    flipped: int
    dropped: int
    change: float
    margin: float

    @property
    def share(self) -> float:
        """Tokens with the same experts over all tokens, 0 to 1."""
        return 1 - self.flipped / max(1, self.tokens)

    @property
    def proved(self) -> bool:
        """No choice can flip while affinities move by less than half the smallest margin."""
        return 2 * self.change < self.margin


@checked
@torch.no_grad()
def read_whole(model: nn.Module, input_ids: Tensor, training: bool = False) -> dict[int, Routing]:
    """{layer: Routing} of input_ids (batch, sequence) in one pass, in eval or in training mode."""
    model = _own(model)
    check_ids(input_ids, None, None, model.config)
    with eval_mode(model, training):
        return _found(model(input_ids.to(model.device)).routing)


@checked
@torch.no_grad()
def read_cached(model: nn.Module, input_ids: Tensor) -> dict[int, Routing]:
    """The same, one token at a time with a cache; rows and positions in the order of a pass."""
    model = _own(model)
    require(model.config.causal, "model", "a masked model", "a causal one")
    check_ids(input_ids, None, None, model.config)
    cache, steps = KVCache(), []
    with eval_mode(model):
        for column in input_ids.to(model.device).split(1, dim=1):
            steps.append(_found(model(column, cache=cache).routing))
    return {layer: _joined([step[layer] for step in steps]) for layer in steps[0]}


@checked
@torch.no_grad()
def read_alone(model: nn.Module, input_ids: Tensor) -> dict[int, Routing]:
    """The same, each row by itself: what a batch must not change."""
    model = _own(model)
    check_ids(input_ids, None, None, model.config)
    rows = [read_whole(model, row[None]) for row in input_ids]
    return {layer: _joined([row[layer] for row in rows], False) for layer in rows[0]}


@checked
def agreement(model: nn.Module, first: dict[int, Routing], second: dict[int, Routing]) -> Agreement:
    """Compare two readings, {layer: Routing}, of the same tokens; `model` made the first.
    ValueError for other layers or another number of tokens."""
    layers = expert_layers(model)
    require(set(first) == set(layers), "first", sorted(first), f"the layers {sorted(layers)}")
    require(set(first) == set(second), "second", sorted(second), f"the layers {sorted(first)}")
    tokens = flipped = dropped = 0
    change, margins = 0.0, []
    for layer, one in first.items():
        other = second[layer]
        same = one.logits.shape == other.logits.shape and one.experts.shape == other.experts.shape
        require(same, f"second[{layer}]", other.logits.shape, f"a Routing like {one.logits.shape}")
        tokens += len(one.experts)
        sets = [
            routing.experts.sort(dim=1).values.to(one.experts.device) for routing in (one, other)
        ]
        flipped += int((sets[0] != sets[1]).any(1).sum())
        dropped += int((~other.kept).sum())
        change = max(change, float((one.scores - other.scores.to(one.scores)).abs().max()))
        margins.append(_margin(one, layers[layer].router))
    margin = float("nan") if any(map(math.isnan, margins)) else min(margins)
    return Agreement(tokens, flipped, dropped, change, margin)


def _margin(routing: Routing, router: nn.Module) -> float:
    """The smallest distance between a token's weakest chosen expert and its strongest other one."""
    if routing.experts.shape[1] == routing.n_experts:
        return float("inf")
    bias = getattr(router, "selection_bias", None)
    scores = routing.scores if bias is None else routing.scores + bias
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(1, routing.experts, True)
    weakest = scores.masked_fill(~chosen, torch.inf).amin(1)
    strongest = scores.masked_fill(chosen, -torch.inf).amax(1)
    gap = float((weakest - strongest).min())
    return gap if gap >= 0 else float("nan")


def _own(model: nn.Module) -> LanguageModel:
    expert_layers(model)
    return bare(model)


def _found(routings) -> dict[int, Routing]:
    return {layer: routing for layer, routing in enumerate(routings) if routing is not None}


def _joined(parts: list[Routing], steps: bool = True) -> Routing:
    """One Routing of several: of steps, each a token of every row, in the order of a pass over
    whole rows; or of rows."""
    fields = {}
    for name in ("experts", "weights", "scores", "logits", "kept"):
        each = [getattr(part, name) for part in parts]
        fields[name] = torch.stack(each, dim=1).flatten(0, 1) if steps else torch.cat(each)
    return Routing(**fields)
