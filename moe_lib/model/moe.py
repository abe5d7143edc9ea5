"""The Mixture-of-Experts layer: a router, its experts, and shared experts that every token
passes."""

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_whole
from moe_lib.model.experts import Experts
from moe_lib.model.layers import SwiGLU
from moe_lib.model.routers import Router, make_router
from moe_lib.model.routing import Routing


class MoELayer(nn.Module):
    """output = shared(x) + sum over the chosen experts of weight_e · FFN_e(x)   (DeepSeekMoE
                                                                                 equations 9 to 11).

    hidden_size            width of a token
    moe_intermediate_size  width of one expert
    n_routed_experts       E, experts to choose from
    num_experts_per_tok    k, experts chosen per token
    n_shared_experts       experts without a router; they are one SwiGLU of n times the width, which
                           is the same sum
    router                 a name of `moe_lib.model.routers.ROUTERS`, or a Router of these sizes
    mlp_bias               biases in the shared experts; with none of them, what is left is a bias
                           on the output
    router_options         of the router's class, e.g. norm_topk_prob, routed_scaling_factor,
                           capacity_factor, n_group

    forward(x (..., hidden_size), input_ids=None, mask=None) -> (output like x, Routing over the
    flattened tokens)
        input_ids, mask    shaped like x without its last dimension: token ids for a hash router;
                           False at padding

    Raises ValueError for sizes below one, k above E, or x of another width; TypeError for an x that
    is not floating.
    """

    def __init__(
        self,
        hidden_size: int,
        moe_intermediate_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        n_shared_experts: int = 0,
        *,
        router: str | Router = "topk",
        mlp_bias: bool = False,
        **router_options,
    ):
        super().__init__()
        require_whole("hidden_size", hidden_size)
        require_whole("moe_intermediate_size", moe_intermediate_size)
        require_whole("n_shared_experts", n_shared_experts, at_least=0)
        self.hidden_size = hidden_size
        if isinstance(router, str):
            router = make_router(
                router, hidden_size, n_routed_experts, num_experts_per_tok, **router_options
            )
        else:
            require(
                isinstance(router, Router),
                "router",
                type(router).__name__,
                "a name or a Router",
                TypeError,
            )
            require(
                not router_options,
                "router_options",
                sorted(router_options),
                "none with a ready router",
            )
            sizes = router.n_routed_experts, router.num_experts_per_tok
            require(
                sizes == (n_routed_experts, num_experts_per_tok),
                "router",
                f"{sizes} experts and k",
                f"a router of {(n_routed_experts, num_experts_per_tok)}",
            )
        self.router = router
        self.experts = Experts(n_routed_experts, hidden_size, moe_intermediate_size)
        has_shared = (
            n_shared_experts or mlp_bias
        )  # as in transformers, where an empty shared expert keeps its bias
        self.shared = (
            SwiGLU(hidden_size, n_shared_experts * moe_intermediate_size, mlp_bias)
            if has_shared
            else None
        )

    def forward(
        self, x: Tensor, input_ids: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Routing]:
        require(
            isinstance(x, torch.Tensor) and x.is_floating_point(),
            "x",
            getattr(x, "dtype", type(x).__name__),
            "a tensor of floating-point numbers",
            TypeError,
        )
        require(
            x.dim() >= 1 and x.shape[-1] == self.hidden_size,
            "x",
            tuple(x.shape),
            f"a last dimension of hidden_size ({self.hidden_size})",
        )
        for name, given in (("input_ids", input_ids), ("mask", mask)):
            require(
                given is None or given.shape == x.shape[:-1],
                name,
                tuple(getattr(given, "shape", ())),
                f"shape {tuple(x.shape[:-1])}, one entry per token of x",
            )
        tokens = x.reshape(-1, self.hidden_size)
        flat_ids, flat_mask = (
            None if given is None else given.flatten() for given in (input_ids, mask)
        )
        n_sequences = x.shape[0] if x.dim() == 3 else 1
        routing = self.router(
            tokens, flat_ids, None if flat_mask is None else flat_mask.bool(), n_sequences
        )
        output = self.experts(tokens, routing).to(x.dtype)
        if self.shared is not None:
            output = output + self.shared(tokens)
        return output.view(x.shape), routing


def router_options(config: ModelConfig) -> dict:
    """The options of `config` that its router takes."""
    names = config.router_class.options
    return {name: getattr(config, name) for name in names if hasattr(config, name)}
