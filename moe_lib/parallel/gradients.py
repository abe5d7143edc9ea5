"""Gradients of all ranks become one gradient, and one norm."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from moe_lib.parallel.collectives import total
from moe_lib.parallel.experts import own_experts
from moe_lib.parallel.ranks import here
from moe_lib.parallel.tensors import is_sharded, local


def add_gradients(model: nn.Module) -> None:
    """Every parameter's gradient becomes the sum over all ranks, in place; nothing happens alone.

    Experts that live on one rank have it already: the tokens of all ranks came to them. FSDP has
    taken means, which are turned into sums. Where a parameter has a gradient on some ranks only, it
    is zero on the others, as it would be in one process; where on none, it stays without.
    """
    ranks = here()
    if not ranks.several:
        return
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    experts = own_experts(model)
    have = torch.tensor([float(p.grad is not None) for p in parameters.values()])
    device = next(model.parameters()).device
    anywhere = total(have.to(device)).tolist()
    replicated = []
    for (name, parameter), ranks_with in zip(parameters.items(), anywhere, strict=True):
        if not ranks_with:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if is_sharded(parameter):
            local(parameter.grad).mul_(ranks.size)
        elif name not in experts:
            replicated.append(parameter.grad)
    for dtype in dict.fromkeys(gradient.dtype for gradient in replicated):
        _add([gradient for gradient in replicated if gradient.dtype == dtype])


def _add(gradients: list[Tensor]) -> None:
    """All in one message: many small ones would pay the delay of each."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def clip_gradients(model: nn.Module, largest: float) -> Tensor:
    """Scale all gradients so that the norm of the whole model's is at most `largest`; gives the
    norm from before. What is spread over the ranks counts from all of them, the rest once."""
    experts = own_experts(model)
    spread, once = [], []
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            elsewhere = name in experts or is_sharded(parameter)
            (spread if elsewhere else once).append(local(parameter.grad))
    device = next(model.parameters()).device
    norm = (total(_squares(spread, device)) + _squares(once, device)).sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    for gradient in spread + once:
        gradient.mul_(factor.to(gradient.dtype))
    return norm


def _squares(tensors: list[Tensor], device: torch.device) -> Tensor:
    """The sum of all squares, a scalar."""
    norms = [torch.linalg.vector_norm(tensor, dtype=torch.float32) for tensor in tensors]
    return torch.stack(norms).square().sum() if norms else torch.zeros((), device=device)
