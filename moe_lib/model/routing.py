"""The record of who goes where. Routers make a `Routing`; experts, losses, traces and views read
it."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Routing:
    """The decisions of one MoE layer in one forward pass. `tokens` is batch · sequence, in that
    order.

    experts  (tokens, k) int64   who was chosen, best first
    weights  (tokens, k) float   what multiplies each chosen expert's output
    scores   (tokens, E) float   affinity of every expert, before selection
    logits   (tokens, E) float   router output
    kept     (tokens, k) bool    False where a capacity limit dropped the pair: that expert does not
                                 run on that token
    chosen   (tokens, k) bool    False where a column holds no choice at all, because tokens have
                                 different numbers of experts (expert choice; GShard's second
                                 expert). None: every column is a choice
    """

    experts: Tensor
    weights: Tensor
    scores: Tensor
    logits: Tensor
    kept: Tensor
    chosen: Tensor | None = None

    @property
    def n_experts(self) -> int:
        return self.logits.shape[-1]

    def choices(self, mask: Tensor | None = None) -> Tensor:
        """(tokens, k) bool: True where a column holds a choice, of the tokens that `mask` (tokens,)
        leaves in."""
        chosen = torch.ones_like(self.kept) if self.chosen is None else self.chosen
        return chosen if mask is None else chosen & mask.bool()[:, None]

    def load(self, mask: Tensor | None = None) -> Tensor:
        """Times each expert was chosen, (E,) int64, whether or not a capacity limit dropped the
        pair afterwards. mask (tokens,) bool leaves out tokens, e.g. padding."""
        return torch.bincount(self.experts[self.choices(mask)], minlength=self.n_experts)

    def kept_load(self, mask: Tensor | None = None) -> Tensor:
        """Pairs that each expert really computes, (E,) int64: the load without the dropped ones."""
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
