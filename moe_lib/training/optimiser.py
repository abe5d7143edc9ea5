"""AdamW with decoupled weight decay, and the warm-up and cosine schedule."""

import math

import torch
from torch import nn

from moe_lib.errors import require


def make_optimiser(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters, DeepSeek-V2's betas and decay
    by default.

    Matrices decay; vectors (norms and biases) do not: pulling a scale towards zero regularises
    nothing.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    require(
        bool(trainable),
        "model",
        "no trainable parameter",
        "a model with parameters that require gradients",
    )
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)


def warmup_cosine(step: int, steps: int, warmup_steps: int, min_ratio: float = 0.1) -> float:
    """Factor of the peak learning rate at `step` of `steps` (from 0): a straight rise, then half a
    cosine.

    The first step has 1 / warmup_steps, the peak is reached at step warmup_steps - 1, the end is
    min_ratio.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / max(1, steps - warmup_steps)
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
