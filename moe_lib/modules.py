"""What every room does with a module it was given: put it into a mode and back, see through what
stands around it: torch.compile, adapters of peft, copies on several devices."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from moe_lib.errors import require

_COPIES = ("DataParallel", "DistributedDataParallel")
# where a compiled module and an adapter keep what they wrap
_COMPILED, _ADAPTED = "_orig_mod", "base_layer"


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


def bare(module: nn.Module, adapters: bool = True) -> nn.Module:
    """The module behind all wrappers: the one whose class and attributes say what it is.

    What peft adds inside a model, such as LoRA in its layers, stays and runs. `adapters=False`
    keeps what changes the module's own result (LoRA around a router) and sees through
    torch.compile alone. Raises ValueError for an adapter that stands in front of a model instead (a
    prompt or prefix of peft), which would get lost.
    """
    while isinstance(module, nn.Module):
        inside = _inside(module, adapters)
        if inside is None:
            break
        module = inside
    return module


def _inside(module: nn.Module, adapters: bool) -> nn.Module | None:
    if _COMPILED in module._modules:
        return module._modules[_COMPILED]
    if not adapters:
        return None
    if hasattr(module, "peft_config") and hasattr(module, "get_base_model"):
        kinds = [config for config in module.peft_config.values() if config.is_prompt_learning]
        require(
            not kinds,
            "model",
            f"a PeftModel with {', '.join(str(config.peft_type) for config in kinds)}",
            "an adapter that works inside the layers, such as LoRA",
        )
        return module.get_base_model()
    if type(module).__name__ in _COPIES:
        return module.module
    return module._modules.get(_ADAPTED)


def is_inside_wrapper(name: str) -> bool:
    """Does the module of this name stand in a wrapper, which has been met under its own name?"""
    return name.rpartition(".")[2] in (_COMPILED, _ADAPTED)


def plain_name(name: str) -> str:
    """A module's name in a model without wrappers around its parts: "layers.3.mlp.experts"."""
    return ".".join(part for part in name.split(".") if part not in (_COMPILED, _ADAPTED))


def as_written() -> AbstractContextManager:
    """Within the `with` block compiled modules run as they were written, so that they can be
    watched: a captured graph calls no modules."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled here, and the import takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
