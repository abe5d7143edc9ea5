"""Tensors that FSDP or expert parallelism spreads over the ranks: the own part, and the whole."""

import torch
from torch import Tensor, nn

from moe_lib.parallel.collectives import from_all
from moe_lib.parallel.experts import ShardedExperts
from moe_lib.parallel.ranks import here


def is_sharded(tensor: Tensor) -> bool:
    """A DTensor, as FSDP2 makes of a parameter."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of it."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole_tensor(model: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """The whole of `tensor`, which is the parameter `name` of the model or shaped like it. Every
    rank has to call it, for the same names in the same order."""
    if is_sharded(tensor):
        return tensor.full_tensor()
    return torch.cat(from_all(tensor)) if _experts_of(model, name) is not None else tensor


def whole_shape(model: nn.Module, name: str, tensor: Tensor) -> torch.Size:
    """The shape that `whole_tensor` has, without asking anybody."""
    experts = _experts_of(model, name)
    if experts is None or not tensor.dim():
        return tensor.shape
    return torch.Size([experts.n_experts, *tensor.shape[1:]])


def own_part(model: nn.Module, name: str, whole: Tensor, like: Tensor) -> Tensor:
    """What this rank keeps of a whole tensor, in the form of `like`."""
    if is_sharded(like):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
    experts = _experts_of(model, name)
    if experts is not None and whole.dim():
        whole = whole[experts.first : experts.first + experts.n_own]
    return whole.to(like.device)


def _experts_of(model: nn.Module, name: str) -> ShardedExperts | None:
    """The experts that a parameter belongs to, if they are on several ranks."""
    if not here().several:
        return None
    module = model.get_submodule(name.rpartition(".")[0])
    return module if isinstance(module, ShardedExperts) else None
