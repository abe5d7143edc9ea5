"""A small module behind each sublayer: it gets what attention or the feed-forward layer gave,
before the residual."""

from torch import nn

from moe_lib.tuning.methods.base import Attached


class AfterSublayers(Attached):
    """A method that puts a module behind every attention and feed-forward layer, as their submodule
    `adapter`.

    Subclasses write `_make`, a new module with `enabled`. An MoE layer's is behind all its experts
    together.
    """

    def _make(self) -> nn.Module:
        raise NotImplementedError

    def _install(self) -> None:
        self.places = [
            module
            for block in self.model.layers
            for module in (block.attention, block.feed_forward)
        ]
        for module in self.places:
            reference = next(module.parameters())
            module.adapter = (
                self._make().to(reference.device, reference.dtype).train(module.training)
            )
        self.hooks = [module.register_forward_hook(_adapt) for module in self.places]

    def _remove(self) -> None:
        for module, hook in zip(self.places, self.hooks, strict=True):
            hook.remove()
            del module.adapter

    def _switch(self, on: bool) -> None:
        for module in self.places:
            module.adapter.enabled = on


def _adapt(module: nn.Module, given: tuple, output):
    """A forward hook; it asks the module for its adapter, so that a deepcopy of the model uses the
    copy's own."""
    if isinstance(output, tuple):  # an MoE layer gives its routing too
        return module.adapter(output[0]), *output[1:]
    return module.adapter(output)
