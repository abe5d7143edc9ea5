"""The state of a training run in one file, so that a killed run goes on as if nothing had happened.

One file means one moment: weights, optimiser moments, random state and history can never be of
different steps.
"""

import json
from pathlib import Path

import torch

from moe_lib.files import read_tensors, write_tensors

FILE = "training_state.safetensors"


def save_state(folder: Path, model, optimiser, history: list[dict], settings: dict) -> None:
    """Write everything a later `load_state` needs, in place of the previous state."""
    tensors = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    tensors |= {f"buffer.{name}": buffer for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    metadata = {
        "kind": "moe_lib training state",
        "history": json.dumps(history),
        "settings": json.dumps(settings),
    }
    write_tensors(folder / FILE, tensors, metadata)


def load_state(folder: Path, model, optimiser, settings: dict) -> list[dict]:
    """Put model, optimiser and random numbers back where `folder` left them; returns the history so
    far.

    An empty folder is a run that has not begun: []. Raises ValueError naming the file if it is
    damaged, not ours, or of a run with other settings (going on with another schedule would be
    neither the old run nor a new one).
    """
    path = folder / FILE
    if not path.is_file():
        return []
    tensors, metadata = read_tensors(path)
    if metadata.get("kind") != "moe_lib training state":
        raise ValueError(f"{path}: not a training state of moe_lib")
    before = json.loads(metadata["settings"])
    changed = {
        key: (before.get(key), value) for key, value in settings.items() if before.get(key) != value
    }
    if changed:
        said = ", ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in changed.items())
        raise ValueError(
            f"{path}: the run there had other settings ({said}); use another folder or resume=False"
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
        for name, buffer in model.named_buffers():
            buffer.copy_(tensors[f"buffer.{name}"])
    for name, parameter in model.named_parameters():
        moments = {
            key: tensors[f"optimiser.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimiser.{key}.{name}" in tensors
        }
        if moments:
            optimiser.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device)
                for key, value in moments.items()
            }
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return json.loads(metadata["history"])
