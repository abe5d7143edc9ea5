"""FSDP2 for all that is not a routed expert, and the way back to an ordinary model."""

import torch
from torch import nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.modules import bare
from moe_lib.parallel.experts import own_experts
from moe_lib.parallel.ranks import here
from moe_lib.parallel.tensors import whole_tensor
from moe_lib.shapes_only import shapes_only
from moe_lib.validation import checked


@checked
def shard_rest(model: nn.Module) -> nn.Module:
    """Spread every weight, gradient and moment of a LanguageModel over the ranks (ZeRO-3, torch's
    `fully_shard`), in place: a block is brought together while it computes. Experts that
    `shard_experts` has spread already stay as they are. Returns the model; alone, nothing changes.

    ValueError for another model, or one that is spread already.
    """
    require(
        isinstance(bare(model), LanguageModel), "model", type(model).__name__, "a LanguageModel"
    )
    if not here().several:
        return model
    from torch.distributed.fsdp import FSDPModule, fully_shard  # slow to import

    require(not isinstance(model, FSDPModule), "model", "one that is spread already", "another one")
    experts = own_experts(model)
    stay = {parameter for name, parameter in model.named_parameters() if name in experts}
    how = dict(mesh=ranks_as_mesh(model.device), ignored_params=stay)
    for block in model.layers:
        fully_shard(block, **how)
    return fully_shard(model, **how)


@checked
def whole_model(model: nn.Module) -> LanguageModel:
    """An ordinary model, alike on every rank, of one whose experts (`shard_experts`) or other
    weights (`shard_rest`) are spread over them. Every rank has to call it."""
    plain = bare(model)
    require(isinstance(plain, LanguageModel), "model", type(model).__name__, "a LanguageModel")
    named = (*plain.named_parameters(), *plain.named_buffers())
    tensors = {name: whole_tensor(plain, name, tensor).detach() for name, tensor in named}
    with shapes_only():
        whole = LanguageModel(plain.config)
    if plain.config.tie_word_embeddings:
        tensors["head.weight"] = tensors["embedding.weight"]
    whole.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
    if plain.config.tie_word_embeddings:
        whole.head.weight = whole.embedding.weight
    learns = {name: tensor.requires_grad for name, tensor in plain.named_parameters()}
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_(learns[name])
    return whole.train(plain.training)


def ranks_as_mesh(device: torch.device):
    """All ranks in a row, as torch's DTensors want to know them."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (here().size,))
