"""What a training needs besides numbers, checked before its first step: nobody should wait for
hours to learn that a folder cannot be written."""

import inspect
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from moe_lib.errors import require, require_number
from moe_lib.modules import bare
from moe_lib.validation import Share, checked

USUAL = {"input_ids", "labels", "attention_mask"}  # of a batch


def require_batches(batches: object, model: nn.Module | None = None) -> None:
    """An object with at(step), whose objective, if it says one, is that of `model`."""
    got = type(batches).__name__
    require(
        callable(getattr(batches, "at", None)), "batches", got, "an object with at(step)", TypeError
    )
    require_objective("batches", batches, model)


def require_objective(argument: str, batches: object, model: nn.Module | None) -> None:
    """A causal model predicts the next token, a masked one the masked tokens: labels of the other
    kind train it to copy. Only `moe_lib.text.Batches` say what theirs are; heads have their own."""
    said = getattr(batches, "objective", None)
    if said not in ("causal", "masked") or not hasattr(model, "head"):
        return
    wanted = "causal" if model.config.causal else "masked"
    fits = said == wanted
    require(fits, argument, f'objective "{said}"', f'"{wanted}", as config.causal of the model is')


def trained_model(model: object, wants: str = "a LanguageModel") -> nn.Module:
    """The model behind torch.compile, peft or nn.DataParallel, to be trained on one device."""
    got = type(model).__name__
    plain = bare(model) if isinstance(model, nn.Module) else None
    fits = hasattr(getattr(plain, "config", None), "bias_update_speed")
    require(fits, "model", got, wants, TypeError)
    require_numbers("model", plain)
    copies = getattr(model, "device_ids", None) or ()
    alone = got != "DistributedDataParallel" and len(copies) <= 1
    require(alone, "model", f"{got} over {len(copies)} devices", f"{wants} on one device")
    return plain


def require_numbers(argument: str, model: nn.Module) -> None:
    """A model made on "meta" has shapes and no numbers: nothing to train, nothing to save."""
    empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    require(not empty, argument, f"{empty[:1]} on meta", "a model whose weights hold numbers")


class FirstEpoch:
    """The labels of the first epoch: a batch may have none, but not all of them."""

    def __init__(self, batches: object, steps: int):
        self.last = min(len(batches), steps) - 1 if hasattr(batches, "__len__") else steps - 1
        self.first, self.labels = None, 0

    def see(self, step: int, labels: int) -> None:
        """ValueError after the last step of an epoch that was seen from its first step on."""
        self.first = step if self.first is None else self.first
        self.labels += labels
        if step == self.last and self.first == 0:
            require(self.labels > 0, "batches", f"no label in {step + 1} batches", "at least one")


def batch_on(model: nn.Module, batch: object) -> dict[str, torch.Tensor]:
    """The batch on the model's device; it must be a dict of tensors with input_ids and labels, a
    row of each per example, and what else the model takes."""
    wants = "dicts of tensors"
    require(isinstance(batch, Mapping), "batches", type(batch).__name__, wants, TypeError)
    other = [name for name, part in batch.items() if not isinstance(part, torch.Tensor)]
    require(not other, "batches", f"no tensor as {other[:3]}", wants, TypeError)
    for name in ("input_ids", "labels"):
        require(name in batch, "batches", sorted(batch), f"batches with {name}")
    if batch.keys() - USUAL:  # else every model takes them, and nothing needs to be looked up
        takes = inspect.signature(model.forward).parameters
        unknown = sorted(name for name in batch if name not in takes)
        unknown = [] if any(p.kind is p.VAR_KEYWORD for p in takes.values()) else unknown
        require(
            not unknown, "batches", f"a batch with {unknown[:3]}", f"some of {', '.join(takes)}"
        )
    rows = batch["input_ids"].shape[:1]
    for name, part in batch.items():
        wants = f"a row for each of input_ids ({rows[0]})" if rows else "shape (batch, sequence)"
        require(rows and part.shape[:1] == rows, name, tuple(part.shape), wants)
    device = next(model.parameters()).device
    return {name: part.to(device) for name, part in batch.items()}


@checked
def require_betas(betas: tuple[Share, Share]) -> None:
    require(max(betas) < 1, "betas", betas, "two numbers of at least 0 and below 1")


def routers_to_balance(model: object, loads: object, speed: object) -> list[nn.Module]:
    """The routers of a model's MoE layers; there must be one load for each, and a speed."""
    from moe_lib.model import MoELayer

    is_model = isinstance(model, nn.Module)
    require(is_model, "model", type(model).__name__, "a LanguageModel", TypeError)
    routers = [module.router for module in model.modules() if isinstance(module, MoELayer)]
    is_list, wants = isinstance(loads, list | tuple), f"one for each of {len(routers)} MoE layers"
    require(is_list, "loads", loads, f"a list of tensors, {wants}", TypeError)
    require(len(loads) == len(routers), "loads", f"{len(loads)} of them", wants)
    require_number("speed", speed, at_least=0)
    return routers


def require_reusable(
    argument: str, batches: object, model: nn.Module | None = None, every: int | None = None
) -> None:
    """Batches that are measured several times: None, or an iterable that is not used up, with the
    objective of `model`."""
    if batches is None:  # then nothing is measured, however often
        require(every is None, "evaluate_every", every, f"None, or {argument} to be measured")
        return
    got, wants = type(batches).__name__, "a list of batches or another iterable"
    usable = hasattr(batches, "__iter__") and not isinstance(batches, str | bytes | dict)
    require(usable, argument, got, wants, TypeError)
    require(iter(batches) is not batches, argument, got, f"{wants}: a generator is used up once")
    require_objective(argument, batches, model)


def require_callable(argument: str, function: object) -> None:
    fits = function is None or callable(function)
    require(fits, argument, function, "a function or None", TypeError)


def require_flag(argument: str, value: object, or_none: bool = False) -> None:
    fits = isinstance(value, bool) or (or_none and value is None)
    wants = "True, False or None" if or_none else "True or False"
    require(fits, argument, value, wants, TypeError)


def writable_folder(argument: str, folder: str | Path | None) -> Path | None:
    """The folder as a Path, made and tried: ValueError if nothing can be written there."""
    if folder is None:
        return None
    got = type(folder).__name__
    fits, wants = isinstance(folder, str | os.PathLike), "the path of a folder, or None"
    require(fits, argument, got, wants, TypeError)
    require(str(folder) != "" and "\0" not in str(folder), argument, folder, wants)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Path(folder)
    except OSError as error:
        wants = "a folder that can be written to"
        raise ValueError(
            f"{argument}: got {str(folder)!r} ({error.strerror}); wants {wants}"
        ) from error


def warn_of_half_precision(model: nn.Module, frames: int = 3) -> None:
    """Weights of 8 to 11 bits are trained, but most of what a step adds is below their resolution.
    `frames` up, this function's included, stands the line that is warned."""
    half = {p.dtype for p in model.parameters() if p.requires_grad} & {
        torch.float16,
        torch.bfloat16,
    }
    if half:
        kinds = ", ".join(sorted(map(str, half)))
        warnings.warn(
            f"model: its weights are {kinds}, and a small step is lost in rounding; train "
            "model.float(), with bf16=True if the forward pass shall be in bfloat16",
            stacklevel=frames,
        )
