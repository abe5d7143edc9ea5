"""Dropout in a base that was pretrained without, for the time of fine-tuning: larger inside the
experts.

Switch Transformer, section 3.2: dropout 0.4 inside the experts and 0.1 elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel, MoELayer, Routing
from moe_lib.model.experts import Experts
from moe_lib.model.fast.dispatch import combine, dispatch, sort_by_expert
from moe_lib.model.fast.grouped import grouped_linear
from moe_lib.model.layers import SwiGLU
from moe_lib.tuning.arguments import Rate
from moe_lib.validation import checked


@checked
@dataclass(frozen=True)
class ExpertDropout:
    """Rates, 0 up to, not including, 1.

    experts    of the inner numbers of each routed expert, h = silu(gate) · up, between its two
               matrices
    elsewhere  of the inner numbers of dense and shared feed-forward layers, and of what attention
               adds

    `attach` puts it into a model, `detach` of what that returns takes it out. It acts in train mode
    only, changes no weight and freezes nothing, so it is also a `method=` of finetune for training
    everything.
    """

    experts: Rate = 0.4
    elsewhere: Rate = 0.1

    def attach(self, model: LanguageModel) -> "AttachedDropout":
        """Raises TypeError for another kind of model, ValueError if dropout is attached to it
        already."""
        require(
            isinstance(model, LanguageModel),
            "model",
            type(model).__name__,
            "a LanguageModel",
            TypeError,
        )
        twice = any(
            "forward" in vars(module) for module in model.modules() if isinstance(module, Experts)
        )
        require(not twice, "model", "experts with dropout", "a model without: detach it first")
        return AttachedDropout(model, self)


class AttachedDropout:
    """Dropout in `model`, until `detach`."""

    def __init__(self, model: LanguageModel, settings: ExpertDropout):
        self.model, self.settings = model, settings
        self._handles, self._experts = [], []
        for layer in model.layers:
            self._handles.append(layer.attention.register_forward_hook(self._drop_output))
            feed_forward = layer.feed_forward
            dense = feed_forward.shared if isinstance(feed_forward, MoELayer) else feed_forward
            if isinstance(dense, SwiGLU):
                self._handles.append(dense.down_proj.register_forward_pre_hook(self._drop_input))
            if isinstance(feed_forward, MoELayer):
                feed_forward.experts.forward = self._expert_forward(feed_forward.experts)
                self._experts.append(feed_forward.experts)

    def detach(self) -> None:
        """Take it out; the model is what it was. A second call does nothing."""
        for handle in self._handles:
            handle.remove()
        for experts in self._experts:
            del experts.forward
        self._handles, self._experts = [], []

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """All that the model trains: dropout adds nothing and freezes nothing."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _drop_output(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return F.dropout(output, self.settings.elsewhere, module.training)

    def _drop_input(self, module: nn.Module, inputs: tuple) -> tuple:
        return (F.dropout(inputs[0], self.settings.elsewhere, module.training),)

    def _expert_forward(self, experts: Experts) -> Callable[[Tensor, Routing], Tensor]:
        plain = experts.forward

        def forward(x: Tensor, routing: Routing) -> Tensor:
            if not experts.training or self.settings.experts == 0:
                return plain(x, routing)
            return run_with_dropout(
                x, routing, experts.gate_up_proj, experts.down_proj, self.settings.experts
            )

        return forward


def run_with_dropout(
    x: Tensor, routing: Routing, gate_up_proj: Tensor, down_proj: Tensor, rate: float
) -> Tensor:
    """`moe_lib.model.fast.ways.run_grouped` with dropout on the inner numbers: each (token, expert)
    pair draws its own.

    x (tokens, d) -> (tokens, d)
    """
    order = sort_by_expert(routing)
    if len(order.pair) == 0:
        return x * 0.0
    weight = routing.weights.to(x.dtype).flatten()[order.pair]
    gate, up = grouped_linear(dispatch(x, order), gate_up_proj, order.load).chunk(
        2, dim=-1
    )  # (pairs, I) each
    hidden = F.dropout(F.silu(gate) * up, rate) * weight[:, None]
    return combine(grouped_linear(hidden, down_proj, order.load), order)
