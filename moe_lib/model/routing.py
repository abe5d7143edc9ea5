"""The record of who goes where: made by routers, read by experts, losses, traces and views."""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.layer_inputs import check_routing, checked_marks


@dataclass(frozen=True)
class Routing:
    """The decisions of one MoE layer in one forward pass, over tokens = batch · sequence.

    experts  (tokens, k) int64   who was chosen, best first
    weights  (tokens, k) float   what multiplies each chosen expert's output
    scores   (tokens, E) float   affinity of every expert, before selection
    logits   (tokens, E) float   router output
    kept     (tokens, k) bool    False where a capacity limit dropped the pair: it does not run
    chosen   (tokens, k) bool    False where a column holds no choice, because tokens have different
                                 numbers of experts (expert choice; GShard). None: all are choices
    """

    experts: Tensor
    weights: Tensor
    scores: Tensor
    logits: Tensor
    kept: Tensor
    chosen: Tensor | None = None

    def __post_init__(self):
        shapes = [getattr(part, "shape", None) for part in (self.experts, self.weights, self.kept)]
        if not shapes[0] == shapes[1] == shapes[2] or len(shapes[0] or ()) != 2:
            check_routing(self)

    @property
    def n_experts(self) -> int:
        return self.logits.shape[-1]

    def choices(self, mask: Tensor | None = None) -> Tensor:
        """(tokens, k) bool: columns that hold a choice, of tokens that mask (tokens,) keeps."""
        chosen = torch.ones_like(self.kept) if self.chosen is None else self.chosen
        return chosen if mask is None else chosen & checked_marks(mask, len(chosen))[:, None]

    def load(self, mask: Tensor | None = None) -> Tensor:
        """Times each expert was chosen, (E,) int64, also where a limit dropped the pair."""
        return torch.bincount(self.experts[self.choices(mask)], minlength=self.n_experts)

    def kept_load(self, mask: Tensor | None = None) -> Tensor:
        """Pairs that each expert really computes, (E,) int64: the load without the dropped."""
        kept = self.choices(mask) & self.kept
        return torch.bincount(self.experts[kept], minlength=self.n_experts)

    def dropped_share(self, mask: Tensor | None = None) -> float:
        """Dropped choices / choices, 0 to 1."""
        choices = self.choices(mask)
        return float((choices & ~self.kept).sum() / choices.sum().clamp(min=1))


@dataclass(frozen=True)
class NoisyRouting(Routing):
    """A Routing by noisy logits (Shazeer et al. 2017), with what its load loss needs besides.

    clean_logits  (tokens, E) float   router output without the noise
    noise_std     (tokens, E) float   standard deviation of the noise on each logit
    """

    clean_logits: Tensor | None = None
    noise_std: Tensor | None = None
