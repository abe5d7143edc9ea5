"""Distributed checkpoints: every rank writes what it holds; any number of ranks opens them.

torch's distributed checkpoint with its safetensors files, one or more a rank: nothing is pickled.
"""

import warnings
from pathlib import Path

import torch.distributed as dist
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.files import finish_folder, read_json, read_shapes, write_folder, write_json
from moe_lib.model import LanguageModel
from moe_lib.modules import bare
from moe_lib.parallel.experts import own_experts
from moe_lib.parallel.ranks import here
from moe_lib.parallel.sharding import ranks_as_mesh
from moe_lib.validation import PathLike, checked

KIND = "moe_lib distributed"
_FILES = "shard-*.safetensors"


@checked
def save_distributed(model: nn.Module, folder: PathLike) -> Path:
    """Write a model that may be spread over the ranks: config.json, and the weights and buffers of
    every rank in files of its own. Every rank has to call it, with a folder that all of them see;
    returns the folder. What stood there is replaced by one rename at the end."""
    plain, folder = bare(model), Path(folder)
    require(isinstance(plain, LanguageModel), "model", type(model).__name__, "a LanguageModel")
    if not here().several:
        write_folder(folder, lambda aside: _write(plain, aside), _old(folder))
        return folder
    if here().first:  # the others write into the folder that this rank has made
        write_folder(folder, lambda aside: _write(plain, _told(aside)), _old(folder))
    else:
        _write(plain, _told(None))
    dist.barrier()
    return folder


@checked
def load_distributed(model: nn.Module, folder: PathLike) -> nn.Module:
    """Read such a checkpoint into a model of the same config, in place, whatever the numbers of
    ranks then and now; each reads what it holds. Returns the model. FileNotFoundError or ValueError
    naming the folder or file that is missing, damaged or of another model."""
    from torch.distributed.checkpoint import load
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    plain, folder = bare(model), Path(folder)
    require(isinstance(plain, LanguageModel), "model", type(model).__name__, "a LanguageModel")
    finish_folder(folder)
    about = read_json(folder / "config.json")
    if about.pop("model_type", None) != KIND:
        raise ValueError(f"{folder / 'config.json'}: not a distributed checkpoint of moe_lib")
    config = plain.config.to_dict()
    changed = [key for key in {**config, **about} if _plain(config.get(key)) != about.get(key)]
    if changed:
        was, now = about.get(changed[0]), config.get(changed[0])
        raise ValueError(f"{folder}: of another model ({changed[0]} was {was!r}, is {now!r})")
    files = sorted(folder.glob(_FILES))
    if not files:
        raise FileNotFoundError(f"{folder / _FILES}: no such file")
    for path in files:
        read_shapes(path)  # names a damaged one
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is")  # alone, as intended
            reader = HuggingFaceStorageReader(str(folder))
            load(_tensors(plain), storage_reader=reader, no_dist=not here().several)
    except (Exception, CheckpointException) as error:  # no Exception, and whatever a file does
        said = str(error).strip().split("\n")[-1]
        raise ValueError(f"{folder}: cannot be read ({type(error).__name__}: {said})") from None
    return model


def _write(model: LanguageModel, aside: Path) -> None:
    from torch.distributed.checkpoint import save
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")  # alone, as intended
        writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
        save(_tensors(model), storage_writer=writer, no_dist=not here().several)
    if here().first:
        write_json(aside / "config.json", {"model_type": KIND, **model.config.to_dict()})


def _told(folder: Path | None) -> Path:
    """The folder that the first rank names."""
    said = [str(folder)]
    dist.broadcast_object_list(said, 0)
    return Path(said[0])


def _old(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(_FILES)] if folder.is_dir() else []


def _tensors(model: LanguageModel) -> dict[str, Tensor]:
    """name -> what this rank holds, in a form that says which part of the whole it is. They share
    memory with the model."""
    from torch.distributed.tensor import DTensor, Shard

    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors = {name: tensor.detach() for name, tensor in named.items()}
    experts = own_experts(model)
    if experts:
        mesh = ranks_as_mesh(next(model.parameters()).device)
        for name in experts:
            tensors[name] = DTensor.from_local(tensors[name], mesh, [Shard(0)])
    return tensors


def _plain(value: object) -> object:
    """As JSON holds it."""
    return list(value) if isinstance(value, tuple) else value
