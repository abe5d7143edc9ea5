"""What every room does with a module it was given: put it into a mode and back, see through
torch.compile."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module, training: bool = False) -> Iterator[None]:
    """Within the `with` block the model is in eval mode (or, with training=True, in training mode).

    Afterwards every module has the mode it had before: an owner may have put a frozen layer into
    eval mode by itself, and `model.train()` would wake it up.
    """
    changed = [module for module in model.modules() if module.training != training]
    for module in changed:
        module.training = training
    try:
        yield
    finally:
        for module in changed:
            module.training = not training


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that torch.compile was given: its names, its class, the same weights. Any other
    module is itself."""
    return getattr(model, "_orig_mod", model)
