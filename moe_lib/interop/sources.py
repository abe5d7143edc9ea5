"""Where tensors come from: a model in memory, or a folder of safetensors files that is read one
tensor at a time."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from moe_lib.files import read_json, require_no_pointer

REMAP_AFTER = 64_000_000  # bytes
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class ModelSource:
    """The tensors of a model in memory."""

    def __init__(self, model: nn.Module):
        self.label = type(model).__name__
        self._tensors = model.state_dict()

    @property
    def names(self) -> Iterable[str]:
        return self._tensors.keys()

    def get(self, name: str) -> Tensor:
        return self._tensors[name].detach()


class FolderSource:
    """The tensors of model.safetensors, or of the shards that model.safetensors.index.json lists.

    Files are mapped into memory and only what is asked for is read. Nothing is ever unpickled.
    FileNotFoundError names a file that is missing, ValueError one that is damaged.
    """

    def __init__(self, folder: Path):
        self.label = str(folder)
        self._home: dict[str, Path] = {}
        for path in _weight_files(folder):
            file = _open(path)
            for name in file.keys():  # noqa: SIM118
                if name in self._home:
                    _require_same(name, self._home[name], path)
                self._home[name] = path
        self._mapped, self._bytes = {}, 0

    @property
    def names(self) -> Iterable[str]:
        return self._home.keys()

    def get(self, name: str) -> Tensor:
        path = self._home[name]
        if path not in self._mapped:
            self._mapped[path] = _open(path)
        tensor = self._mapped[path].get_tensor(name)
        self._bytes += tensor.nbytes
        if (
            self._bytes > REMAP_AFTER
        ):  # what was read of a mapped file counts as our memory until it is closed
            self._mapped, self._bytes = {}, 0
        return tensor


def _require_same(name: str, one: Path, other: Path) -> None:
    """Two shards may hold the same tensor, but not with other numbers."""
    first, second = (_open(path).get_tensor(name) for path in (one, other))
    if first.dtype != second.dtype or not torch.equal(first, second):
        raise ValueError(f"{other}: {name} is in {one.name} too, with other numbers")


def _open(path: Path):
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; {INDEX} lists it")
    require_no_pointer(path)
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"{folder / WEIGHTS}: missing, and no {INDEX} either; wants safetensors files"
        )
    listed = read_json(folder / INDEX).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise ValueError(f"{folder / INDEX}: has no weight_map from tensor names to file names")
    inside = sorted(set(listed.values()))
    outside = [name for name in inside if Path(name).name != name]
    if outside:
        raise ValueError(f"{folder / INDEX}: lists {outside[0]!r}; wants names of files beside it")
    return [folder / name for name in inside]
