"""Activation checkpointing: keep the residual stream between blocks, compute the rest again."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from moe_lib.errors import require
from moe_lib.model.block import Block
from moe_lib.modules import bare
from moe_lib.validation import Flag, checked


class RecomputedBlock(Block):
    """A block that forgets what it computed in a forward pass with gradients, and computes it again
    for the backward pass (Chen et al. 2016). Results, names and routing stay what they are."""

    def forward(self, x, angles, visible=None, cache=None, input_ids=None, mask=None):
        if not torch.is_grad_enabled() or cache is not None:
            return super().forward(x, angles, visible, cache, input_ids, mask)
        given = x, angles, visible, cache, input_ids, mask
        return checkpoint(super().forward, *given, use_reentrant=False)


@checked
def recompute_activations(model: nn.Module, on: Flag = True) -> nn.Module:
    """Let every block of a LanguageModel compute its activations again in the backward pass, in
    place: about a third more arithmetic, and memory for one block at a time. With experts on
    several ranks tokens travel once more, too. on=False takes it back. Returns the model."""
    blocks = [module for module in bare(model).modules() if isinstance(module, Block)]
    require(bool(blocks), "model", type(model).__name__, "a LanguageModel")
    for block in blocks:
        block.__class__ = RecomputedBlock if on else Block
    return model
