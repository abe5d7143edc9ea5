"""Make the routers of a model choose the experts of a trace.

As `moe_lib.tracing.interventions.banning` does, this changes what a router sees of torch while it
runs: `topk` over all experts gives the forced ones, with this model's own values at their places,
and `topk` over groups gives the groups in which they lie. What the experts are called with is
checked.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from moe_lib.errors import require
from moe_lib.model import LanguageModel, MoELayer, Routing
from moe_lib.modules import bare
from moe_lib.tracing.hugging_face import (
    WatchedLayer,
    expert_arguments,
    find_layers,
    limiting_groups,
    parameter_names,
)
from moe_lib.tracing.interventions.banning import number_of_experts, reads_text
from moe_lib.tracing.routed_tokens import routed_tokens
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.tracing.traced_inputs import plain_model
from moe_lib.validation import checked

_TOPK = (torch.topk, Tensor.topk)


class _Forced(TorchFunctionMode):
    """Within this mode a router's `topk` gives `experts` (tokens, k), in tokens that `real` marks.

    total  E; groups  (n_group, topk_group), (1, 1) where nothing limits the choice
    """

    def __init__(self, experts: Tensor, real: Tensor, total: int, groups: tuple[int, int]):
        super().__init__()
        self.experts, self.real, self.total, self.groups = experts, real[:, None], total, groups

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function not in _TOPK or not args:
            return result
        seen, chosen = args[0], result.indices
        tokens, k = self.experts.shape
        if seen.shape[-1] == self.total and chosen.numel() == tokens * k:
            wanted = self.experts
        elif (seen.shape[-1], seen.numel()) == (self.groups[0], tokens * self.groups[0]):
            wanted = self._groups(seen.reshape(tokens, -1))
        else:
            return result
        free = chosen.reshape(wanted.shape)
        indices = torch.where(self.real, wanted, free).view(chosen.shape)
        return torch.return_types.topk((seen.gather(-1, indices), indices))

    def _groups(self, scores: Tensor) -> Tensor:
        """scores (tokens, n_group) -> (tokens, topk_group): the groups of the forced experts, and
        the best others besides."""
        n_group, used = self.groups
        place = self.experts // (self.total // n_group)  # (tokens, k)
        needed = torch.zeros_like(scores, dtype=torch.bool).scatter(1, place, True)
        most = int((needed & self.real).sum(1).max())
        wants = f"experts in at most {used} groups, as one token of this model may use"
        require(most <= used, "trace", f"a token with experts in {most} groups", wants)
        return scores.masked_fill(needed, torch.inf).topk(used, dim=-1).indices


@checked
@contextmanager
def forced_routing(model: nn.Module, trace: RoutingTrace) -> Iterator[nn.Module]:
    """Within the `with` block the routers of `model` choose the experts of `trace`, token by token.

    The weights are the model's own: its scores for the forced experts, normalised and scaled as it
    does with those that it chooses itself. For models that divide the chosen scores by their sum
    this is the replay of arXiv 2510.11370: masks from the trace, scores from the model. Gradients
    pass through the scores. Tokens that the trace does not hold (padding, the last token written)
    and layers that it leaves out choose for themselves. The inputs within the block must have the
    shape of the trace, or one token more.

    model   a LanguageModel with a top-k router, or a Mixture-of-Experts model of transformers

    Raises ValueError for a trace of another model (a layer without experts, an expert or k that it
    does not have), one whose tokens have different numbers of experts, and for routers whose choice
    is no top-k: a hash table, product keys, Switch's and NLLB's; in the block, for an input of
    another shape.
    """
    inner = plain_model(model)
    own = isinstance(inner, LanguageModel)
    found = _own_layers(inner) if own else _other_layers(inner)
    for layer in trace.layers:
        wants = f"layers with experts of {type(inner).__name__}: {sorted(found)}"
        wants += "; name the model by config= where an engine counts layers with experts alone"
        require(layer.index in found, "trace", f"layer {layer.index}", wants)
    handles = []
    with ExitStack() as modes:
        try:
            for layer in trace.layers:
                routed = routed_tokens(trace, layer)
                forced = _ForcedLayer(layer, routed, found[layer.index], modes)
                handles += forced.hooks()
            yield model
        finally:
            for handle in handles:
                handle.remove()


def _own_layers(model: LanguageModel) -> dict[int, MoELayer]:
    blocks = enumerate(bare(block.feed_forward) for block in model.layers)
    return {index: block for index, block in blocks if isinstance(block, MoELayer)}


def _other_layers(model: nn.Module) -> dict[int, WatchedLayer]:
    layers = [layer for layer in find_layers(model) if reads_text(layer, model)]
    wants = "a model with experts that this library knows"
    require(bool(layers), "model", type(model).__name__, wants)
    return {layer.index: layer for layer in layers}


class _ForcedLayer:
    """One layer of the model and what it has to choose."""

    def __init__(self, layer: LayerTrace, real: Tensor, place, modes: ExitStack):
        self.layer, self.real, self.place, self.modes = layer, real, place, modes
        own = isinstance(place, MoELayer)
        self.router = bare(place.router)
        kind, told = type(self.router).__name__, True
        if own:
            router = self.router
            self.total, self.groups = router.n_routed_experts, (router.n_group, router.topk_group)
            told = not (router.by_token_id or router.assigns)
            k = router.num_experts_per_tok
            wants = f"{k}, the experts per token of layer {layer.index}"
            require(layer.experts.shape[-1] == k, "trace", f"k = {layer.experts.shape[-1]}", wants)
        else:
            self.total, self.groups = number_of_experts(place), limiting_groups(self.router)
            told = place.experts is not None and not hasattr(self.router, "tid2eid")
        wants = "a router that takes the k best and can be told which these are"
        require(told, "model", f"layer {layer.index}, {kind}", wants)
        last = int(layer.experts[real].max()) if real.any() else 0
        wants = f"experts of layer {layer.index}: 0 to {self.total - 1}"
        require(last < self.total, "trace", f"expert {last}", wants)

    def hooks(self) -> list:
        if isinstance(self.place, MoELayer):
            return [self.place.router.register_forward_hook(self._own)]
        router = self.place.router_outside
        first = self.place.block if router is None else bare(router, adapters=False)
        experts = bare(self.place.experts_outside, adapters=False)
        self.running: ExitStack | None = None
        return [
            first.register_forward_pre_hook(self._enter),
            experts.register_forward_pre_hook(self._leave, with_kwargs=True),
        ]

    def _mode(self, tokens: int, device: torch.device) -> _Forced:
        """The mode for `tokens` tokens, batch · sequence of the trace, or one more each."""
        batch, length = self.real.shape
        experts, real = self.layer.experts, self.real
        if tokens == batch * (length + 1):
            experts = torch.cat((experts, experts[:, -1:]), 1)
            real = torch.cat((real, torch.zeros_like(real[:, :1])), 1)
        wants = f"those of the trace, {batch} × {length}, or one more each"
        require(real.numel() == tokens, "input_ids", f"{tokens} tokens", wants)
        flat = experts.flatten(0, 1).to(device), real.flatten().to(device)
        self.wanted, self.where = flat
        return _Forced(*flat, self.total, self.groups)

    def _own(self, module: nn.Module, args: tuple, routing: Routing) -> Routing:
        router = bare(module)
        with self._mode(len(routing.experts), routing.logits.device):
            forced = router.route(routing.logits)
        self._check(forced.experts, forced.weights)
        return router.limit(forced)

    def _enter(self, module: nn.Module, args: tuple) -> None:
        hidden = args[0] if args else None
        if not isinstance(hidden, Tensor):
            hidden = next(self.place.block.parameters())
        tokens = hidden.shape[:-1].numel()
        self.running = ExitStack()
        self.running.enter_context(self._mode(tokens, hidden.device))
        self.modes.callback(self.running.close)  # where something fails before the experts run

    def _leave(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.running.close()
        given = {**dict(zip(parameter_names(module), args, strict=False)), **kwargs}
        index, weight = expert_arguments(bare(module))
        self._check(given[index], given[weight])

    def _check(self, experts: Tensor, weights: Tensor) -> None:
        place = f"layer {self.layer.index}"
        k = self.wanted.shape[-1]
        wants = f"{experts.shape[-1]}, the experts per token of {place}"
        require(experts.shape[-1] == k, "trace", f"k = {k}", wants)
        got, wanted = (t.reshape(-1, k).sort(-1).values for t in (experts, self.wanted))
        agree = torch.equal(got[self.where], wanted[self.where])
        wants = "a router that takes the k best and can be told which these are"
        kind = type(self.router).__name__
        require(agree, "model", f"{place}, {kind}", wants)
        require(bool(weights.isfinite().all()), "model", f"NaN as weights of {place}", "numbers")
