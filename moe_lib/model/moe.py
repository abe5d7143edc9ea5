"""The Mixture-of-Experts layer: a router, its experts, and shared experts for every token."""

from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_one_of
from moe_lib.model.experts import Experts
from moe_lib.model.layers import SwiGLU
from moe_lib.model.routers import ROUTERS, Router, make_router
from moe_lib.model.routing import Routing
from moe_lib.model_inputs import check_vectors
from moe_lib.validation import Count, Flag, Natural, checked


class MoELayer(nn.Module):
    """output = shared(x) + Σ over the chosen e of weight_e · FFN_e(x) (DeepSeekMoE, eq. 9 to 11).

    hidden_size            width of a token
    moe_intermediate_size  width of one expert
    n_routed_experts       E, experts to choose from
    num_experts_per_tok    k, experts chosen per token
    n_shared_experts       experts without a router: one SwiGLU of n times the width, the same sum
    router                 a name of `moe_lib.model.routers.ROUTERS`, or a Router of these sizes
    mlp_bias               biases in the shared experts; with n_shared_experts 0, one on the output
    router_options         of the router's class, e.g. norm_topk_prob, capacity_factor, n_group

    forward(x (..., hidden_size), input_ids=None, mask=None) -> (output like x, Routing of the
    flattened tokens); input_ids and mask (...) are ids for a hash router and False at padding.

    ValueError or TypeError for sizes below one, k above E, or an x of another width or type.
    """

    @checked
    def __init__(
        self,
        hidden_size: Count,
        moe_intermediate_size: Count,
        n_routed_experts: Count,
        num_experts_per_tok: Count,
        n_shared_experts: Natural = 0,
        *,
        router: str | Router = "topk",
        mlp_bias: Flag = False,
        **router_options,
    ):
        super().__init__()
        self.hidden_size, sizes = hidden_size, (n_routed_experts, num_experts_per_tok)
        if isinstance(router, str):
            require_one_of("router", router, ROUTERS)
            router = make_router(router, hidden_size, *sizes, **router_options)
        elif router_options:
            require(False, "router_options", sorted(router_options), "none with a ready router")
        has = router.n_routed_experts, router.num_experts_per_tok
        require(has == sizes, "router", f"{has} experts and k", f"a router of {sizes}")
        self.router = router
        self.experts = Experts(n_routed_experts, hidden_size, moe_intermediate_size)
        self.shared = None
        if n_shared_experts or mlp_bias:  # an empty shared expert keeps its bias (transformers)
            self.shared = SwiGLU(hidden_size, n_shared_experts * moe_intermediate_size, mlp_bias)

    def forward(self, x: Tensor, input_ids=None, mask=None) -> tuple[Tensor, Routing]:
        check_vectors(x, self.hidden_size, input_ids, mask, self.experts)
        tokens = x.reshape(-1, self.hidden_size)  # (tokens, hidden_size)
        ids = None if input_ids is None else input_ids.flatten()  # (tokens,)
        real = None if mask is None else mask.flatten().bool()  # (tokens,)
        n_sequences = x.shape[0] if x.dim() == 3 else 1
        routing = self.router(tokens, ids, real, n_sequences)
        output = self.experts(tokens, routing).to(x.dtype)
        if self.shared is not None:
            output = output + self.shared(tokens)
        return output.view(x.shape), routing


def moe_layer(config: ModelConfig, layer: int) -> MoELayer:
    """The MoE layer of block `layer`, with the options of `config` that its router takes."""
    router = config.routers[layer]
    options = {name: getattr(config, name) for name in router.options if hasattr(config, name)}
    if config.mlp_layer_types and "seed" in router.options:
        options["seed"] = layer  # else two tokens that share experts would share them in all blocks
    widths = config.hidden_size, config.moe_intermediate_size
    experts = config.n_routed_experts, config.num_experts_per_tok, config.n_shared_experts
    ends = dict(router=router.name, mlp_bias=config.mlp_bias)
    return MoELayer(*widths, *experts, **ends, **options)
