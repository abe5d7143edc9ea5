"""Weights that are trained where they stand: the base's own values are kept beside them, to switch
back and forth."""

import torch
from torch import Tensor, nn

from moe_lib.model import LanguageModel, MoELayer
from moe_lib.tuning.methods.base import Attached


class InPlace:
    """Some tensors of a model, named, and a second set of values for them: the base's, at the start
    both the same.

    Parameters get requires_grad. Buffers are kept too: the selection bias of a router moves without
    a gradient.
    """

    def __init__(self, tensors: dict[str, Tensor]):
        self.tensors = tensors
        self.aside = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        for tensor in tensors.values():
            if isinstance(tensor, nn.Parameter):
                tensor.requires_grad_(True)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the values in the model with those that are kept aside."""
        for name, tensor in self.tensors.items():
            now = tensor.clone()
            tensor.copy_(self.aside[name])
            self.aside[name] = now


class AttachedInPlace(Attached):
    """A method that trains some of the model's own tensors. Subclasses write `_choose`, name ->
    parameter or buffer."""

    def _choose(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def _install(self) -> None:
        self.in_place = InPlace(self._choose())

    def _switch(self, on: bool) -> None:
        self.in_place.swap()

    def _remove(self) -> None:
        if self.enabled:
            self.in_place.swap()

    def _merge(self) -> None:
        pass  # the trained values stand in the model already

    def _unmerge(self) -> None:
        pass

    def tensors(self) -> dict[str, Tensor]:
        return self.in_place.tensors


def router_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """Name -> the parameters of all routers, and what else a router that learns keeps: a selection
    bias, which training moves by the load and not by a gradient (where the router is trained)."""
    found: dict[str, Tensor] = {}
    for path, layer in _moe_layers(model):
        kept = dict(layer.router.named_parameters())
        if kept:  # not the table of a router that learns nothing
            kept |= dict(layer.router.named_buffers())
        found |= {f"{path}.router.{name}": tensor for name, tensor in kept.items()}
    return found


def shared_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """Name -> the parameters of all shared experts."""
    return {
        f"{path}.shared.{name}": parameter
        for path, layer in _moe_layers(model)
        if layer.shared is not None
        for name, parameter in layer.shared.named_parameters()
    }


def norm_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """Name -> the weights of the two norms of each block and of the last norm (not those inside
    latent attention)."""
    block_norms = ("attention_norm.weight", "feed_forward_norm.weight")
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name == "norm.weight" or name.endswith(block_norms)
    }


def _moe_layers(model: LanguageModel) -> list[tuple[str, MoELayer]]:
    return [
        (path, module) for path, module in model.named_modules() if isinstance(module, MoELayer)
    ]
