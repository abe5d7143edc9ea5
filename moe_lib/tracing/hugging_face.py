"""Watch the routers of a Hugging Face model at work.

Two places say who was chosen: the router, which returns (logits, weights, indices), and the
experts, which are called with (hidden states, indices, weights). Both are hooked, and must agree.
Deriving the choice from `output_router_logits` instead is wrong for every family with a bias,
groups or a hash table.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.tracing.families import ADAPTERS, Choice, affinities, scale_after, without_skipped
from moe_lib.tracing.trace import LayerTrace

_INDEX_NAMES, _WEIGHT_NAMES = (
    ("top_k_index", "router_indices"),
    ("top_k_weights", "routing_weights"),
)
_ROUTER_NAMES = ("gate", "router")


@dataclass
class Place:
    """One MoE layer of a model, and what was seen there.

    name     of the block that holds router and experts, e.g. "model.layers.3.mlp"
    block    that module
    router   the module that chooses, or None
    experts  the module that is called with the choice, or None where an adapter reads the router
             alone
    shared   True if shared experts stand in or beside the block
    seen     a Choice per call
    """

    name: str
    block: nn.Module
    router: nn.Module | None
    experts: nn.Module | None
    shared: bool = False
    seen: list[Choice] = field(default_factory=list)

    @property
    def index(self) -> int:
        """Number of the layer: the first number in the module's name."""
        numbers = [part for part in self.name.split(".") if part.isdigit()]
        require(
            bool(numbers), "model", f"experts in {self.name!r}", "experts inside numbered layers"
        )
        return int(numbers[0])

    @property
    def in_attention(self) -> bool:
        return any("attn" in part or "attention" in part for part in self.name.split("."))


def find_places(model: nn.Module) -> list[Place]:
    """The MoE layers of `model`, in the order of its modules."""
    modules, places = dict(model.named_modules()), []
    for name, module in modules.items():
        parent = name.rpartition(".")[0]
        if type(module).__name__ in ADAPTERS:
            own = type(module).__name__ == "DogeCDMoE"  # the block itself is what is watched
            places.append(
                Place(name if own else parent, modules[name if own else parent], module, None)
            )
        elif expert_arguments(module) is not None:
            block = modules[parent]
            router = next(
                (child for n, child in block.named_children() if n in _ROUTER_NAMES), None
            )
            places.append(Place(parent, block, router, module))
    for place in places:
        beside = modules.get(place.name.rpartition(".")[0], place.block)
        children = {**dict(place.block.named_children()), **dict(beside.named_children())}
        shared = [child for name, child in children.items() if name.startswith("shared")]
        place.shared = any(next(child.parameters(), None) is not None for child in shared)
    return places


def limiting_groups(router: nn.Module | None) -> tuple[int, int]:
    """(groups, groups that one token may use) of a router whose choice is limited to groups of
    experts; else (1, 1)."""
    groups, used = (getattr(router, name, None) for name in ("num_group", "topk_group"))
    limited = isinstance(groups, int) and isinstance(used, int) and used < groups
    return (groups, used) if limited and getattr(router, "topk_method", "") != "greedy" else (1, 1)


def number_of_shared(model: nn.Module, place: Place) -> int:
    """Shared experts of one layer: as the configuration counts them, 1 where it does not, 0 where
    there are none."""
    if not place.shared:
        return 0
    config = (
        model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    )
    named = [
        getattr(config, name, None)
        for name in (
            "n_shared_experts",
            "num_shared_experts",
            "moe_num_shared_experts",
            "num_shared_expert",
        )
    ]
    return next((number for number in named if type(number) is int and number > 0), 1)


def expert_arguments(module: nn.Module) -> tuple[str, str] | None:
    """The names under which an experts module is given indices and weights; None for another
    module."""
    names = list(inspect.signature(module.forward).parameters)
    index = next((name for name in names if name in _INDEX_NAMES), None)
    weight = next((name for name in names if name in _WEIGHT_NAMES), None)
    return (index, weight) if index and weight else None


@contextmanager
def watching(model: nn.Module) -> Iterator[list[Place]]:
    """Within the `with` block every call of an MoE layer of `model` is noted down; the hooks go
    away at its end.

    Raises ValueError, naming the model's class, if it has no experts that this library knows how to
    read.
    """
    places = find_places(model)
    require(
        bool(places),
        "model",
        type(model).__name__,
        "a model with experts: it has no router and no experts that this library knows",
    )
    handles = []
    try:
        for place in places:
            handles += _hooks(place)
        yield places
    finally:
        for handle in handles:
            handle.remove()


def _hooks(place: Place) -> list:
    if place.experts is None:
        read = ADAPTERS[type(place.router).__name__]

        def on_router(module, args, output):
            place.seen.append(_detached(_scaled(read(module, output), place.block)))

        return [place.router.register_forward_hook(on_router)]
    said: list = []  # what the router returned, until the experts are called
    names = list(inspect.signature(place.experts.forward).parameters)

    def on_experts(module, args, kwargs):
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        index, weight = (given[name] for name in expert_arguments(module))
        place.seen.append(_detached(_agreed(place, said.pop() if said else None, index, weight)))

    handles = [place.experts.register_forward_pre_hook(on_experts, with_kwargs=True)]
    if place.router is not None:
        handles.append(
            place.router.register_forward_hook(lambda module, args, output: said.append(output))
        )
    return handles


def _agreed(place: Place, said, experts: Tensor, weights: Tensor) -> Choice:
    """The choice that the experts were given, checked against what the router returned."""
    k = experts.shape[-1]
    experts, weights = experts.reshape(-1, k), weights.reshape(-1, k)
    total = getattr(
        place.experts, "total_experts", None
    )  # LongCat: the last of them hand the token on as it is
    choice = Choice(experts, weights, total or place.experts.num_experts)
    if isinstance(said, tuple) and len(said) >= 3:
        logits, router_weights, router_experts = (
            said[0],
            said[1].reshape(-1, k),
            said[2].reshape(-1, k),
        )
        agree = torch.equal(router_experts, experts) and torch.equal(
            router_weights.to(weights), weights
        )
    elif isinstance(said, Tensor):  # logits alone: the chosen must be the largest
        logits = said
        agree = torch.equal(
            logits.reshape(-1, logits.shape[-1]).topk(k).indices.sort().values,
            experts.sort().values,
        )
    else:
        return _scaled(choice, place.block)
    require(
        agree, "model", f"{place.name}: a router that chose other experts than ran", "both to agree"
    )
    choice = replace(choice, logits=logits.reshape(len(experts), -1))
    if type(place.block).__name__ == "ZayaSparseMoeBlock":
        return without_skipped(choice)
    return _scaled(choice, place.block)


def _scaled(choice: Choice, block: nn.Module) -> Choice:
    scale = scale_after(block)
    return choice if scale == 1 else replace(choice, weights=choice.weights * scale)


def _detached(choice: Choice) -> Choice:
    tensors = {
        name: value.detach() for name, value in vars(choice).items() if isinstance(value, Tensor)
    }
    return replace(choice, **tensors)


def layer_traces(
    model: nn.Module, places: list[Place], batch: int, length: int
) -> tuple[list, tuple]:
    """(layers, attention layers) of what was seen of `batch` texts; several calls follow each other
    in time.

    Raises ValueError if no layer was called, or one saw another number of tokens than batch ·
    length.
    """
    used = [place for place in places if place.seen]
    require(
        bool(used),
        "model",
        f"{type(model).__name__}, none of whose {len(places)} MoE layers was called",
        "a forward pass that calls them as modules (no compiled or captured graph)",
    )
    traces = [
        (place, _layer_trace(place, batch, length, number_of_shared(model, place)))
        for place in used
    ]
    for part in (False, True):
        numbers = [place.index for place, _ in traces if place.in_attention is part]
        twice = sorted({n for n in numbers if numbers.count(n) > 1})
        require(
            not twice,
            "model",
            f"two sets of experts in layers {twice}",
            "one per layer; pass the part to trace",
        )
    return (
        [trace for place, trace in traces if not place.in_attention],
        tuple(trace for place, trace in traces if place.in_attention),
    )


def _layer_trace(place: Place, batch: int, length: int, n_shared: int) -> LayerTrace:
    choices = [_by_weight(choice) for choice in place.seen]
    total = sum(len(choice.experts) for choice in choices)
    require(
        total == batch * length,
        "model",
        f"{place.name}: {total} tokens routed",
        f"{batch} · {length}, each token of the input once",
    )

    def whole(parts: list[Tensor | None]) -> Tensor | None:
        if all(part is None for part in parts):
            return None
        return torch.cat([part.view(batch, -1, part.shape[-1]).cpu() for part in parts], dim=1)

    return LayerTrace(
        place.name,
        place.index,
        choices[0].n_experts,
        whole([choice.experts for choice in choices]),
        whole([choice.weights.float() for choice in choices]),
        whole([affinities(choice) for choice in choices]),
        whole([choice.kept for choice in choices]),
        whole([choice.chosen for choice in choices]),
        place.shared,
        n_shared,
        *limiting_groups(place.router),
    )


def _by_weight(choice: Choice) -> Choice:
    """Largest weight first: many families leave their experts in no order."""
    order = choice.weights.float().argsort(dim=-1, descending=True, stable=True)
    moved = {
        name: value.gather(1, order)
        for name in ("experts", "weights", "kept", "chosen")
        if (value := getattr(choice, name)) is not None
    }
    return replace(choice, **moved)
