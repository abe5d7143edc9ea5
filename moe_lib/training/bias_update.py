"""Auxiliary-loss-free balance (DeepSeek-V3) in training: the step of the selection bias. Losses,
and the numbers of an even load, stand in `moe_lib.model.balance`, as a forward pass needs them."""

from torch import Tensor, nn

from moe_lib.training.preflight import routers_to_balance


def update_selection_biases(model: nn.Module, loads: list[Tensor], speed: float) -> None:
    """Move the selection bias of every MoE layer of `model`, in order, by `Router.update_bias`.
    loads has one (E,) per MoE layer, that of the whole optimiser step. A bias stands still where
    the weights of its router do; speed 0 moves none. A table of token ids has none.
    """
    routers = routers_to_balance(model, loads, speed)
    for router, load in zip(routers, loads, strict=True):
        learns = any(parameter.requires_grad for parameter in router.parameters())
        if speed and learns and not router.by_token_id:
            router.update_bias(load, speed)
