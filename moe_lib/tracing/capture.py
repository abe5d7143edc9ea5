"""Record the routing of a model while it reads."""

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.tracing.trace import LayerTrace, RoutingTrace


@torch.no_grad()
def trace_routing(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> RoutingTrace:
    """Run `model` once over input_ids (batch, sequence), in eval mode, and return who was sent where.

    attention_mask (batch, sequence) is 1 at real tokens; padding is routed like everything else but marked in the
    trace and left out of its counts. The model's training mode is restored, also after an error.

    Raises TypeError for a model that is no LanguageModel, ValueError for a model without experts or bad input ids.
    """
    require(isinstance(model, LanguageModel), "model", type(model).__name__, "a moe_lib LanguageModel", TypeError)
    config = model.config
    moe_layers = [layer for layer in range(config.num_hidden_layers) if config.is_moe_layer(layer)]
    require(bool(moe_layers), "model", "a dense model", "a model with experts (n_routed_experts above 0)")
    was_training = model.training
    model.eval()
    try:
        on_device = [None if t is None else t.to(model.device) for t in (input_ids, attention_mask)]
        routing = model(*on_device).routing
    finally:
        model.train(was_training)
    shape = input_ids.shape
    layers = [_layer_trace(index, routing[index], shape) for index in moe_layers]
    real = torch.ones(shape, dtype=torch.bool) if attention_mask is None else attention_mask.bool().cpu()
    return RoutingTrace(layers, input_ids.cpu(), real)


def _layer_trace(index: int, routing, shape: torch.Size) -> LayerTrace:
    experts, weights, scores = (
        part.view(*shape, -1).cpu() for part in (routing.experts, routing.weights, routing.scores)
    )
    return LayerTrace(f"layers.{index}.feed_forward", index, routing.n_experts, experts, weights, scores)
