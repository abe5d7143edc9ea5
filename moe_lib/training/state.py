"""The state of a training run in one file, so that a killed run goes on as if nothing had happened.

One file means one moment: weights, optimiser moments, random state and history can never be of
different steps.
"""

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_lib.files import read_tensors, write_tensors
from moe_lib.parallel.ranks import here
from moe_lib.parallel.tensors import local, own_part, whole_shape, whole_tensor
from moe_lib.training.diagnosis import TrainingDiverged
from moe_lib.training.optimiser import StepSettings

FILE = "training_state.safetensors"
KIND = "moe_lib training state"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
NUMBERS = ("loss", "balance_loss", "gradient_norm", "tokens", "seconds", "learning_rate")


def run_identity(model: nn.Module, settings: StepSettings) -> dict[str, dict]:
    """What makes a run this run, as JSON holds it: "settings" of its steps, and "model": class,
    configuration (at the start: callbacks may change it), and what is frozen."""
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    kind = type(model).__name__.removeprefix("FSDP")  # the same run, spread over several ranks
    about = {"class": kind, **model.config.to_dict(), "frozen": frozen}
    return json.loads(json.dumps({"settings": dataclasses.asdict(settings), "model": about}))


def save_state(folder: Path, model, optimiser, history: list[dict], identity: dict) -> None:
    """Write everything a later `load_state` needs, in place of the previous state. Raises
    TrainingDiverged rather than write weights that are not finite. Of several ranks all have to
    call it, and the first one writes; the file is the same for any number of them."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(local(parameter)).all():
            raise TrainingDiverged(f"{folder / FILE}: not written, {name} is not finite")
    tensors = {
        f"{kind}.{name}": whole_tensor(model, name, tensor)
        for (kind, name), tensor in _state_of(model).items()
    }
    tensors["random.cpu"] = torch.get_rng_state()
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            value = whole_tensor(model, name, value) if value.dim() else value
            tensors[f"optimiser.{key}.{name}"] = value
    if not here().first:
        return
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    parts = {**identity, "history": history}
    metadata = {"kind": KIND, **{name: json.dumps(part) for name, part in parts.items()}}
    write_tensors(folder / FILE, tensors, metadata)


def load_state(folder: Path, model, optimiser, identity: dict) -> list[dict]:
    """Put model, optimiser and random numbers back where `folder` left them; returns the history so
    far.

    An empty folder is a run that has not begun: []. Raises ValueError naming the file if it is
    damaged, not ours, or of a run with other settings or another model (going on would be neither
    the old run nor a new one). Nothing is changed before all of it is checked.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    tensors, metadata = read_tensors(path)
    if metadata.get("kind") != KIND:
        raise ValueError(f"{path}: not a training state of moe_lib")
    history = _same_run(path, metadata, identity)
    _check_tensors(path, tensors, model, optimiser)
    try:
        torch.set_rng_state(tensors["random.cpu"])
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: random.cpu is no state of random numbers ({error})") from error
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    with torch.no_grad():
        for (kind, name), tensor in _state_of(model).items():
            tensor.copy_(own_part(model, name, tensors[f"{kind}.{name}"], tensor))
    for name, parameter in model.named_parameters():
        if f"optimiser.step.{name}" in tensors:
            moments = {key: tensors[f"optimiser.{key}.{name}"] for key in MOMENTS}
            on_device = optimiser.defaults["fused"]  # where torch keeps the step counts, too
            optimiser.state[parameter] = {
                key: value
                if key == "step" and not on_device
                else value.to(parameter.device)
                if key == "step"
                else own_part(model, name, value, parameter)
                for key, value in moments.items()
            }
    return history


def _state_of(model: nn.Module) -> dict[tuple[str, str], Tensor]:
    """("model" or "buffer", name) -> tensor, or this rank's part of it."""
    parameters = {("model", name): parameter for name, parameter in model.named_parameters()}
    return parameters | {("buffer", name): buffer for name, buffer in model.named_buffers()}


def _same_run(path: Path, metadata: dict[str, str], identity: dict) -> list[dict]:
    """The history, if the state is of this very run."""
    again = "use another folder or resume=False"
    try:
        before = {name: dict(json.loads(metadata[name])) for name in identity}
        history = [dict(row) for row in json.loads(metadata["history"])]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: does not say what run it is of ({error!r}); {again}") from error
    for part, now in identity.items():
        old = before[part]
        changed = [key for key in {**old, **now} if old.get(key) != now.get(key)]
        if changed:
            said = ", ".join(f"{key} was {old.get(key)!r}, is {now.get(key)!r}" for key in changed)
            what = "other settings" if part == "settings" else "another model"
            raise ValueError(f"{path}: the run there had {what} ({said}); {again}")
    if len(history) > identity["settings"]["steps"]:
        raise ValueError(f"{path}: its history is longer than its run; {again}")
    if not history:  # a state is written after a step
        raise ValueError(f"{path}: history: no step, beside trained weights; {again}")
    for number, row in enumerate(history):
        if row.get("step") != number:
            got = f"history[{number}]: step is {row.get('step')!r}"
            raise ValueError(f"{path}: {got}; wants {number}; {again}")
        wrong = [key for key in NUMBERS if not isinstance(row.get(key, 0), int | float)]
        if wrong or "loss" not in row:
            name = wrong[0] if wrong else "loss"
            got = f"history[{number}]: {name} is {row.get(name)!r}"
            raise ValueError(f"{path}: {got}; wants a number; {again}")
    return history


def _check_tensors(path: Path, tensors: dict[str, Tensor], model: nn.Module, optimiser) -> None:
    """ValueError unless the file holds exactly what this model and its optimiser need."""
    wanted = {
        f"{kind}.{name}": (whole_shape(model, name, tensor), tensor.dtype)
        for (kind, name), tensor in _state_of(model).items()
    }
    for name, parameter in model.named_parameters():
        if any(f"optimiser.{key}.{name}" in tensors for key in MOMENTS):
            moment = (whole_shape(model, name, parameter), parameter.dtype)
            kinds = ((torch.Size([]), torch.float32), moment, moment)
            wanted |= {
                f"optimiser.{key}.{name}": kind for key, kind in zip(MOMENTS, kinds, strict=True)
            }
    found = {name: (t.shape, t.dtype) for name, t in tensors.items() if name[:7] != "random."}
    wrong = sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))
    if wrong or "random.cpu" not in tensors:
        said = ", ".join(wrong[:3]) or "random.cpu"
        raise ValueError(f"{path}: missing, unexpected or of another shape or type: {said}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: {name} holds a NaN or infinity")
