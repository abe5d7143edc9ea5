"""Load balance in training: the losses, the numbers that say how even the load is, and the step of
the bias.

The formulas live beside the router in `moe_lib.model.balance`, because a model's forward pass needs
them.
"""

from torch import Tensor, nn

from moe_lib.errors import require, require_number
from moe_lib.model import MoELayer
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
    "update_selection_biases",
]


def update_selection_biases(model: nn.Module, loads: list[Tensor], speed: float) -> None:
    """Move the selection bias of every MoE layer of `model`, in order, by `Router.update_bias`.

    loads has one (E,) per MoE layer, that of the whole optimiser step. A bias stands still where
    the weights of its router do; speed 0 moves none.
    """
    is_model = isinstance(model, nn.Module)
    require(is_model, "model", type(model).__name__, "a LanguageModel", TypeError)
    require_number("speed", speed, at_least=0)
    routers = [module.router for module in model.modules() if isinstance(module, MoELayer)]
    is_list, wants = isinstance(loads, list | tuple), f"one for each of {len(routers)} MoE layers"
    require(is_list, "loads", loads, f"a list of tensors, {wants}", TypeError)
    require(len(loads) == len(routers), "loads", f"{len(loads)} of them", wants)
    for router, load in zip(routers, loads, strict=True):
        if speed and any(parameter.requires_grad for parameter in router.parameters()):
            router.update_bias(load, speed)
