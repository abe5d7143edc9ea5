"""The two small layers that every block uses: RMSNorm and the SwiGLU feed-forward layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.model_inputs import check_input
from moe_lib.validation import Count, Natural, Positive, checked


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x²) + eps) · weight, over the last dimension (Zhang & Sennrich 2019).
    The mean is taken in float32 also when x is bfloat16: squares lose too many digits there."""

    @checked
    def __init__(self, hidden_size: Count, eps: Positive = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, len(self.weight))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.rms_norm(wide, wide.shape[-1:], eps=self.eps).to(x.dtype) * self.weight


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)), as a rule without biases (Shazeer 2020)."""

    @checked
    def __init__(self, hidden_size: Count, intermediate_size: Natural, bias: bool = False):
        super().__init__()
        self.hidden_size = hidden_size
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.hidden_size, self.gate_proj)
        hidden = F.silu(self.gate_proj(x)) * self.up_proj(x)  # (..., intermediate_size)
        return self.down_proj(hidden)  # (..., hidden_size)
