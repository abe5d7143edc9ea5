"""Where a Hugging Face model has its experts: the layers, their routers, and what these say of
themselves."""

import inspect
from dataclasses import dataclass, field

from torch import nn

from moe_lib.errors import require
from moe_lib.modules import bare, is_inside_wrapper, plain_name
from moe_lib.tracing.families import ADAPTERS, Choice

_INDEX_NAMES, _WEIGHT_NAMES = (
    ("top_k_index", "router_indices"),
    ("top_k_weights", "routing_weights"),
)
_ROUTER_NAMES = ("gate", "router")


@dataclass
class WatchedLayer:
    """One MoE layer of a model, and what was seen there.

    name     of the block that holds router and experts, e.g. "model.layers.3.mlp"
    block    that module
    router   the module that chooses, or None
    experts  the module that is called with the choice, or None where an adapter reads the router
             alone
    shared   True if shared experts stand in or beside the block
    seen     a Choice per call
    router_outside, experts_outside   the same two with what an adapter such as LoRA put around
             them: what the block calls
    """

    name: str
    block: nn.Module
    router_outside: nn.Module | None
    experts_outside: nn.Module | None
    shared: bool = False
    seen: list[Choice] = field(default_factory=list)

    @property
    def router(self) -> nn.Module | None:
        return bare(self.router_outside)

    @property
    def experts(self) -> nn.Module | None:
        return bare(self.experts_outside)

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


def find_layers(model: nn.Module) -> list[WatchedLayer]:
    """The MoE layers of `model`, in the order of its modules, also behind wrappers."""
    modules, layers = dict(model.named_modules()), []
    for name, wrapped in modules.items():
        if is_inside_wrapper(name):
            continue
        parent, module = name.rpartition(".")[0], bare(wrapped)
        if type(module).__name__ in ADAPTERS:
            own = type(module).__name__ == "DogeCDMoE"  # the block itself is what is watched
            at = name if own else parent
            layers.append(WatchedLayer(plain_name(at), bare(modules[at]), wrapped, None))
        elif expert_arguments(module) is not None:
            block = bare(modules[parent])
            router = next(
                (child for n, child in block.named_children() if n in _ROUTER_NAMES), None
            )
            layers.append(WatchedLayer(plain_name(parent), block, router, wrapped))
    plain = {plain_name(name): module for name, module in modules.items()}  # the innermost is last
    for layer in layers:
        beside = plain.get(layer.name.rpartition(".")[0], layer.block)
        children = {**dict(layer.block.named_children()), **dict(beside.named_children())}
        shared = [child for name, child in children.items() if name.startswith("shared")]
        layer.shared = any(next(child.parameters(), None) is not None for child in shared)
    return layers


def limiting_groups(router: nn.Module | None) -> tuple[int, int]:
    """(groups, groups that one token may use) of a router whose choice is limited to groups of
    experts; else (1, 1)."""
    groups, used = (getattr(router, name, None) for name in ("num_group", "topk_group"))
    limited = isinstance(groups, int) and isinstance(used, int) and used < groups
    return (groups, used) if limited and getattr(router, "topk_method", "") != "greedy" else (1, 1)


def number_of_shared(model: nn.Module, layer: WatchedLayer) -> int:
    """Shared experts of one layer: as the configuration counts them, 1 where it does not, 0 where
    there are none."""
    if not layer.shared:
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
    names = parameter_names(module)
    index = next((name for name in names if name in _INDEX_NAMES), None)
    weight = next((name for name in names if name in _WEIGHT_NAMES), None)
    return (index, weight) if index and weight else None


def parameter_names(module: nn.Module) -> list[str]:
    """The names of what a module's `forward` takes, in order."""
    return list(inspect.signature(module.forward).parameters)
