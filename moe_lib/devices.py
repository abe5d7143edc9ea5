"""Where models and batches go: one question, asked once, so that nothing else has to know."""

import os
from collections.abc import Callable

import torch

from moe_lib.errors import require

VARIABLE = "COURSE_DEVICE"


def device() -> torch.device:
    """The GPU if there is one, else the CPU; the environment variable COURSE_DEVICE overrides.

    A GPU is one that torch drives as "cuda", which AMD's are too. Another accelerator that torch
    knows here (Apple's "mps", say) is taken when COURSE_DEVICE names it, as is a certain one of
    several GPUs ("cuda:1").

    Raises ValueError if COURSE_DEVICE names a device that this machine does not have.
    """
    asked = os.environ.get(VARIABLE, "").strip()
    if not asked:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = _devices()
    require(asked in there, VARIABLE, asked, f"one of {', '.join(there)}, or nothing")
    return torch.device(asked)


def usable_device(device: object) -> torch.device | None:
    """The device, tried: ValueError for one that torch does not know or this machine lacks."""
    if device is None:
        return None
    try:
        return torch.zeros((), device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        wants = "None or a device of this machine, such as 'cpu'"
        raise ValueError(f"device: got {device!r} ({error}); wants {wants}") from error


def autocast(device: torch.device, bf16: bool | None) -> Callable:
    """What makes the context of a forward pass: bfloat16 where `bf16` says so, or, if it is None,
    on a GPU that has it."""
    wanted = device.type == "cuda" and torch.cuda.is_bf16_supported() if bf16 is None else bf16
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def _devices() -> list[str]:
    """The names of this machine's devices: "cpu", and an accelerator alone and with its number."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    numbers = range(torch.accelerator.device_count())
    return ["cpu", accelerator.type, *(f"{accelerator.type}:{number}" for number in numbers)]
