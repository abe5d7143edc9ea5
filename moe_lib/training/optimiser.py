"""AdamW with decoupled weight decay, and the warm-up and cosine schedule."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from moe_lib.errors import require
from moe_lib.training.preflight import require_betas
from moe_lib.validation import Count, Natural, NonNegative, Positive, Share, checked


@checked
@dataclass(frozen=True)
class StepSettings:
    """How every step of a run is taken. A run is resumed with the same ones only. The fields are
    arguments of `moe_lib.train`; warmup_steps None becomes a tenth of the steps."""

    steps: Count
    learning_rate: Positive
    min_learning_rate_ratio: Share
    warmup_steps: Natural | None
    weight_decay: NonNegative
    clip: Positive
    accumulation: Count

    def __post_init__(self):
        if self.warmup_steps is None:
            object.__setattr__(self, "warmup_steps", max(1, self.steps // 10))
        wants = f"at most steps ({self.steps})"
        require(self.warmup_steps <= self.steps, "warmup_steps", self.warmup_steps, wants)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        factor = warmup_cosine(step, self.steps, self.warmup_steps, self.min_learning_rate_ratio)
        return self.learning_rate * factor


@checked
def make_optimiser(
    model: nn.Module, learning_rate: Positive, weight_decay: NonNegative = 0.1, betas=(0.9, 0.95)
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters, by default with DeepSeek-V2's
    betas and decay. Matrices decay; vectors (norms and biases) do not: pulling a scale towards zero
    regularises nothing."""
    require_betas(betas)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wants = "a model with parameters that require gradients"
    require(bool(trainable), "model", "no trainable parameter", wants)
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    # one pass over memory for all of the update; None is torch's own choice elsewhere
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in trainable) or None
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)


@checked
def warmup_cosine(step: Natural, steps: Count, warmup_steps: Natural, min_ratio: Share = 0.1):
    """Factor of the peak learning rate at `step` of `steps` (from 0): a straight rise, then half a
    cosine. The first step has 1 / warmup_steps, step warmup_steps - 1 the peak, the end min_ratio.
    """
    require(warmup_steps <= steps, "warmup_steps", warmup_steps, f"at most steps ({steps})")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / max(1, steps - warmup_steps)
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
