"""Adapters: a small bottleneck after attention and after the feed-forward layer (Houlsby et al.
2019)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.tuning.methods.base import Method
from moe_lib.tuning.methods.in_place import InPlace, norm_tensors
from moe_lib.tuning.methods.sublayers import AfterSublayers
from moe_lib.validation import Count, Flag, checked

START = 0.01  # standard deviation of the two matrices at the start, as in the paper's section 3.6


class Bottleneck(nn.Module):
    """h + W_up · gelu(W_down h + b_down) + b_up, with W_down (m, d) and W_up (d, m) nearly zero at
    the start.

    h (..., d) -> (..., d). Switched off, it gives back h itself.
    """

    def __init__(self, hidden_size: int, bottleneck: int):
        super().__init__()
        self.down = nn.Linear(hidden_size, bottleneck)
        self.up = nn.Linear(bottleneck, hidden_size)
        for linear in (self.down, self.up):
            nn.init.trunc_normal_(linear.weight, std=START, a=-2 * START, b=2 * START)
            nn.init.zeros_(linear.bias)
        self.enabled = True

    def forward(self, h: Tensor) -> Tensor:
        return h + self.up(F.gelu(self.down(h))) if self.enabled else h


class AttachedHoulsby(AfterSublayers):
    def _make(self) -> nn.Module:
        return Bottleneck(self.model.config.hidden_size, self.method.bottleneck)

    def _install(self) -> None:
        super()._install()
        self.norms = InPlace(norm_tensors(self.model) if self.method.train_norms else {})

    def _switch(self, on: bool) -> None:
        super()._switch(on)
        self.norms.swap()

    def _remove(self) -> None:
        super()._remove()
        if self.enabled:
            self.norms.swap()


@checked
@dataclass(frozen=True)
class Houlsby(Method):
    """Two adapters per block, each before its residual is added: x + adapter(attention(norm(x))),
    and so after the feed-forward layer, be it dense or an MoE (then it acts on what its experts
    give together).

    bottleneck    m, numbers between W_down and W_up
    train_norms   also train the weights of the blocks' norms and of the last norm, as the paper
                  does: 2L + 1 vectors

    Trains 2L (2md + d + m) numbers, and (2L + 1) d with the norms. It cannot be merged: it is no
    change of a weight.
    """

    attached_class = AttachedHoulsby

    bottleneck: Count = 16
    train_norms: Flag = False

    def count(self, config: ModelConfig) -> int:
        layers, d, m = config.num_hidden_layers, config.hidden_size, self.bottleneck
        return 2 * layers * (2 * m * d + d + m) + (2 * layers + 1) * d * self.train_norms
