"""When training breaks down: say at which step, and where the first bad number came from."""

from collections.abc import Callable

import torch
from torch import nn


class TrainingDiverged(FloatingPointError):
    """A loss or gradient that is no longer a number. The model keeps its weights from before the
    step."""


def first_bad_module(model: nn.Module, run: Callable[[], object]) -> str:
    """Call `run`, which uses the model, and name the first thing in it that is not finite: a
    parameter, or a module's output."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"parameter {name} already holds a NaN or infinity"
    found: list[str] = []

    def watch(name):
        def hook(module, args, output):
            tensors = output if isinstance(output, tuple) else (output,)
            bad = any(isinstance(t, torch.Tensor) and not torch.isfinite(t).all() for t in tensors)
            if bad and not found:
                found.append(name)

        return hook

    handles = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return (
        f"the output of {found[0]} is the first that is not finite"
        if found
        else "no module's output; the loss itself"
    )


def first_bad_gradient(model: nn.Module) -> str:
    """Name the first parameter, from the output backwards, whose gradient is not finite."""
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"the gradient of {name}"
    return "the norm of the gradient overflows"


def step_if_it_fits(optimiser: torch.optim.Optimizer, trained: list) -> torch.dtype | None:
    """One step of the optimiser. Where it makes weights of 16 bits infinite, all of `trained` get
    their values from before back; the type of the short ones then, else None."""
    low = [p for p in trained if p.dtype in (torch.float16, torch.bfloat16)]
    before = [p.detach().clone() for p in trained if low]  # no copy where nothing can overflow
    optimiser.step()
    if all(bool(torch.isfinite(p).all()) for p in low):
        return None
    for parameter, value in zip(trained, before, strict=True):
        parameter.data.copy_(value)
    return low[0].dtype
