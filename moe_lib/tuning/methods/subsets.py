"""Methods that train a part of the model where it stands, and leave the rest: everything, routers,
biases, nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.counting import count_parameters
from moe_lib.errors import require
from moe_lib.tuning.methods.base import Method
from moe_lib.tuning.methods.in_place import AttachedInPlace, router_tensors
from moe_lib.tuning.methods.sublayers import AfterSublayers


class AttachedFull(AttachedInPlace):
    def _choose(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters()) | dict(self.model.named_buffers())


@dataclass(frozen=True)
class Full(Method):
    """Full fine-tuning: every weight of the base. A second copy of them is kept, to switch back to
    the base."""

    attached_class = AttachedFull

    def count(self, config: ModelConfig) -> int:
        return count_parameters(config).total


class AttachedHeadOnly(AttachedInPlace):
    def _choose(self) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class HeadOnly(Method):
    """Nothing of the base: only a task head on top of it is trained ("linear probing"). `finetune`
    refuses it on a LanguageModel without a head, which would have nothing to train."""

    attached_class = AttachedHeadOnly

    def count(self, config: ModelConfig) -> int:
        return 0


class AttachedRouterOnly(AttachedInPlace):
    def _choose(self) -> dict[str, Tensor]:
        self.method.count(self.model.config)  # refuses a model without router weights
        return router_tensors(self.model)


@dataclass(frozen=True)
class RouterOnly(Method):
    """The routers alone: no expert learns anything new, tokens are only sent elsewhere.

    One matrix (E, hidden_size) per MoE layer, and what else its class learns. A selection bias
    (DeepSeek-V3) is no parameter and not counted; it moves with the load, and is saved. Raises
    ValueError for a dense model and for a router that learns nothing.
    """

    attached_class = AttachedRouterOnly

    def count(self, config: ModelConfig) -> int:
        total = count_parameters(config).router if config.n_routed_experts else 0
        require(
            total > 0, "model", "no router with weights", "an MoE model whose router is learned"
        )
        return total


class AttachedBiasOnly(AttachedInPlace):
    def _choose(self) -> dict[str, Tensor]:
        self.method.count(self.model.config)  # refuses a model without biases
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if name.endswith("bias")
        }


@dataclass(frozen=True)
class BiasOnly(Method):
    """BitFit (Ben Zaken et al. 2022): the biases that the model has, and nothing else.

    They are: attention_bias, at each latent and at the output of latent attention; mlp_bias, in
    dense and shared feed-forward layers; the bias on the logits of a router (gpt-oss). The
    selection bias of DeepSeek-V3 is no parameter: it has no gradient, and does not count. Most
    models of today have no biases at all, and are refused with a ValueError; `AddedBias` gives them
    some.
    """

    attached_class = AttachedBiasOnly

    def count(self, config: ModelConfig) -> int:
        without = config.replace(attention_bias=False, mlp_bias=False)
        total = count_parameters(config).total - count_parameters(without).total
        with_bias = sum("bias" in router.learned for router in config.routers.values())
        total += with_bias * config.n_routed_experts
        require(
            total > 0,
            "model",
            "no bias",
            "a model with attention_bias, mlp_bias or a router with a bias on its logits",
        )
        return total


class OutputBias(nn.Module):
    """h + b, with b (hidden_size,) zero at the start; switched off, h itself."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.enabled = True

    def forward(self, h: Tensor) -> Tensor:
        return h + self.bias if self.enabled else h


class AttachedAddedBias(AfterSublayers):
    def _make(self) -> nn.Module:
        return OutputBias(self.model.config.hidden_size)


@dataclass(frozen=True)
class AddedBias(Method):
    """BitFit for a model without biases: one is added to what attention and the feed-forward layer
    of each block give, 2L · hidden_size numbers, zero at the start. (Ours, not the paper's, whose
    models have biases in every layer.)"""

    attached_class = AttachedAddedBias

    def count(self, config: ModelConfig) -> int:
        return 2 * config.num_hidden_layers * config.hidden_size
