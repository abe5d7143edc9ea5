"""The Mixture-of-Experts layer: a router, its experts, and shared experts that every token passes."""

import torch
from torch import Tensor, nn

from moe_lib.errors import require, require_whole
from moe_lib.model.experts import Experts
from moe_lib.model.layers import SwiGLU
from moe_lib.model.routing import Routing, TopKRouter


class MoELayer(nn.Module):
    """output = shared(x) + sum over the k chosen experts of weight_e · FFN_e(x)   (DeepSeekMoE equations 9 to 11).

    hidden_size            width of a token
    moe_intermediate_size  width of one expert
    n_routed_experts       E, experts to choose from
    num_experts_per_tok    k, experts chosen per token
    n_shared_experts       experts without a router; they are one SwiGLU of n times the width, which is the same sum
    norm_topk_prob, routed_scaling_factor   see `TopKRouter`

    forward(x (..., hidden_size)) -> (output like x, Routing over the flattened tokens)

    Raises ValueError for sizes below one, k above E, or x of another width; TypeError for an x that is not floating.
    """

    def __init__(self, hidden_size: int, moe_intermediate_size: int, n_routed_experts: int, num_experts_per_tok: int,
                 n_shared_experts: int = 0, *, norm_topk_prob: bool = False,
                 routed_scaling_factor: float = 1.0):  # fmt: skip
        super().__init__()
        require_whole("hidden_size", hidden_size)
        require_whole("moe_intermediate_size", moe_intermediate_size)
        require_whole("n_shared_experts", n_shared_experts, at_least=0)
        self.hidden_size = hidden_size
        self.router = TopKRouter(hidden_size, n_routed_experts, num_experts_per_tok, norm_topk_prob,
                                 routed_scaling_factor)  # fmt: skip
        self.experts = Experts(n_routed_experts, hidden_size, moe_intermediate_size)
        self.shared = SwiGLU(hidden_size, n_shared_experts * moe_intermediate_size) if n_shared_experts else None

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        require(isinstance(x, torch.Tensor) and x.is_floating_point(), "x", getattr(x, "dtype", type(x).__name__),
                "a tensor of floating-point numbers", TypeError)  # fmt: skip
        require(x.dim() >= 1 and x.shape[-1] == self.hidden_size, "x", tuple(x.shape),
                f"a last dimension of hidden_size ({self.hidden_size})")  # fmt: skip
        tokens = x.reshape(-1, self.hidden_size)
        routing = self.router(tokens)
        output = self.experts(tokens, routing).to(x.dtype)
        if self.shared is not None:
            output = output + self.shared(tokens)
        return output.view(x.shape), routing
