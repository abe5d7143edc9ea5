"""Every router of the lineage, each a small class with its paper, all returning the same `Routing`.

To add one: write its class in a file of this folder (`base` says what a router is), and put it into
`ROUTERS`.
"""

from moe_lib.errors import require_one_of
from moe_lib.model.routers.assigned import (
    BASERouter,
    ExpertChoiceRouter,
    GatedHashRouter,
    HashRouter,
)
from moe_lib.model.routers.base import Router
from moe_lib.model.routers.early import DenseRouter, GShardRouter, NoisyTopKRouter, SwitchRouter
from moe_lib.model.routers.topk import (
    BiasedTopKRouter,
    GroupLimitedRouter,
    TopKRouter,
    TopKSoftmaxRouter,
)

ROUTERS: dict[str, type[Router]] = {
    "dense": DenseRouter,
    "noisy_topk": NoisyTopKRouter,
    "gshard": GShardRouter,
    "switch": SwitchRouter,
    "base": BASERouter,
    "hash": HashRouter,
    "gated_hash": GatedHashRouter,
    "expert_choice": ExpertChoiceRouter,
    "topk": TopKRouter,
    "group_limited": GroupLimitedRouter,
    "biased_topk": BiasedTopKRouter,
    "topk_softmax": TopKSoftmaxRouter,
}
# The routers of single blocks, by what `mlp_layer_types` says; the others have the model's.
LAYER_ROUTERS = {"hash_moe": GatedHashRouter}


def make_router(
    name: str, hidden_size: int, n_routed_experts: int, num_experts_per_tok: int, **options
) -> Router:
    """A router by its name in `ROUTERS`, with the options of its class. ValueError for another name
    and for options out of range, TypeError for an option that this router does not have."""
    require_one_of("name", name, ROUTERS)
    return ROUTERS[name](hidden_size, n_routed_experts, num_experts_per_tok, **options)


__all__ = ["ROUTERS", "Router", "make_router", *(router.__name__ for router in ROUTERS.values())]
