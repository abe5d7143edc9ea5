"""Load balance in training: the losses, the numbers that say how even the load is, and the step of
the bias.

The formulas live beside the router in `moe_lib.model.balance`, because a model's forward pass needs
them.
"""

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import BiasedTopKRouter, MoELayer
from moe_lib.model.balance import (
    communication_balance_loss,
    device_balance_loss,
    expert_balance_loss,
    importance_loss,
    load_entropy,
    load_loss,
    max_violation,
    router_z_loss,
)

__all__ = [
    "communication_balance_loss",
    "device_balance_loss",
    "expert_balance_loss",
    "importance_loss",
    "load_entropy",
    "load_loss",
    "max_violation",
    "router_z_loss",
    "update_selection_bias",
    "update_selection_biases",
]


@torch.no_grad()
def update_selection_bias(router: BiasedTopKRouter, load: Tensor, speed: float) -> None:
    """One step of auxiliary-loss-free balancing: b_i += speed · sign(mean load − load_i).

    load (E,) is that of a whole, finished optimiser step: counted from the sequence at hand it
    would tell a token about later ones (Loss-Free Balancing 2024, algorithm 1; DeepSeek-V3 section
    2.1.2, speed 0.001). Raises TypeError for a router without a bias, ValueError for a load of
    another length.
    """
    require(
        isinstance(router, BiasedTopKRouter),
        "router",
        type(router).__name__,
        "a BiasedTopKRouter",
        TypeError,
    )
    bias = router.selection_bias
    require(load.shape == bias.shape, "load", tuple(load.shape), f"shape {tuple(bias.shape)}")
    load = load.to(bias.device, torch.float64)
    bias += speed * (load.mean() - load).sign().to(bias.dtype)


def update_selection_biases(model: nn.Module, loads: list[Tensor], speed: float) -> None:
    """`update_selection_bias` for every MoE layer of `model`, in order; loads has one (E,) per MoE
    layer. A bias stands still where the weights of its router do; speed 0 moves none."""
    routers = [module.router for module in model.modules() if isinstance(module, MoELayer)]
    for router, load in zip(routers, loads, strict=True):
        if speed and any(parameter.requires_grad for parameter in router.parameters()):
            update_selection_bias(router, load, speed)
