"""Methods that put something around modules of the model: LoRA, AdaLoRA, ESFT."""

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.tuning.methods.base import Attached


class Wrapper(nn.Module):
    """A module of the model with something around it: `base` is the module, `enabled` whether the
    rest acts.

    Subclasses write forward, and `deltas`, name of a parameter of `base` -> what is added to it, if
    they can be merged.
    """

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base
        self.enabled = True

    def deltas(self) -> dict[str, Tensor]:
        raise NotImplementedError


class Wrapped(Attached):
    """A method that puts a Wrapper around some modules. Subclasses write `_wrap`, path of a module
    -> its Wrapper."""

    def _wrap(self) -> dict[str, Wrapper]:
        raise NotImplementedError

    def _install(self) -> None:
        self.wrappers = self._wrap()
        for path, wrapper in self.wrappers.items():
            plain = self.model.get_submodule(path)
            reference = next(plain.parameters())
            wrapper.to(reference.device, reference.dtype).train(
                plain.training
            )  # a model in eval mode drops nothing
            self.model.set_submodule(path, wrapper)

    def _remove(self) -> None:
        for path, wrapper in self.wrappers.items():
            self.model.set_submodule(path, wrapper.base)

    def _switch(self, on: bool) -> None:
        for wrapper in self.wrappers.values():
            wrapper.enabled = on

    @torch.no_grad()
    def _merge(self) -> None:
        # the weights are kept: adding and subtracting a number does not give back the same bits
        self._kept = {
            path: {
                name: (getattr(wrapper.base, name).clone(), delta)
                for name, delta in wrapper.deltas().items()
            }
            for path, wrapper in self.wrappers.items()
        }
        for path, kept in self._kept.items():
            for name, (_, delta) in kept.items():
                getattr(self.wrappers[path].base, name).add_(delta)
        self._remove()

    @torch.no_grad()
    def _unmerge(self) -> None:
        for path, kept in self._kept.items():
            for name, (weight, delta) in kept.items():
                now = getattr(self.wrappers[path].base, name)
                same = torch.equal(now, weight.to(now) + delta.to(now))
                require(
                    same,
                    "unmerge",
                    f"{path}.{name} changed since merge()",
                    "the weights that merge() left: unmerging would undo the change",
                )
        for path, wrapper in self.wrappers.items():
            for name, (weight, _) in self._kept[path].items():
                getattr(wrapper.base, name).copy_(weight)
            mode = wrapper.base.training
            self.model.set_submodule(path, wrapper.to(self.model.device).train(mode))
        del self._kept
