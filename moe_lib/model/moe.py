"""The Mixture-of-Experts layer: a router, its experts, and shared experts that every token passes."""

from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_bool, require_shape, require_whole
from moe_lib.model.experts import Experts
from moe_lib.model.layers import SwiGLU
from moe_lib.model.routers import Router, make_router
from moe_lib.model.routing import Routing


class MoELayer(nn.Module):
    """output = shared(x) + Σ over the chosen experts of weight_e · FFN_e(x)
    (DeepSeekMoE, equations 9 to 11).

    hidden_size            width of a token
    moe_intermediate_size  width of one expert
    n_routed_experts       E, experts to choose from
    num_experts_per_tok    k, experts chosen per token
    n_shared_experts       experts without a router: one SwiGLU of n times the width, the same sum
    router                 a name of `moe_lib.model.routers.ROUTERS`, or a Router of these sizes
    mlp_bias               biases in the shared experts; with none of them, a bias on the output is left
    router_options         of the router's class, e.g. norm_topk_prob, capacity_factor, n_group

    forward(x (..., hidden_size), input_ids=None, mask=None) -> (output like x, Routing over the
    flattened tokens)
        input_ids, mask    shaped like x without its last dimension: token ids for a hash router; False
                           at padding

    Raises ValueError or TypeError for sizes below one, k above E, or an x of another width or type.
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
        require_bool("mlp_bias", mlp_bias)
        self.hidden_size, sizes = hidden_size, (n_routed_experts, num_experts_per_tok)
        if isinstance(router, str):
            self.router = make_router(router, hidden_size, *sizes, **router_options)
        else:
            self.router = _checked(router, sizes, router_options)
        self.experts = Experts(n_routed_experts, hidden_size, moe_intermediate_size)
        self.shared = None
        if (
            n_shared_experts or mlp_bias
        ):  # as in transformers, an empty shared expert keeps its bias
            self.shared = SwiGLU(hidden_size, n_shared_experts * moe_intermediate_size, mlp_bias)

    def forward(
        self, x: Tensor, input_ids: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Routing]:
        self._check(x, input_ids, mask)
        tokens = x.reshape(-1, self.hidden_size)  # (tokens, hidden_size)
        ids = None if input_ids is None else input_ids.flatten()  # (tokens,)
        real = None if mask is None else mask.flatten().bool()  # (tokens,)
        n_sequences = x.shape[0] if x.dim() == 3 else 1
        routing = self.router(tokens, ids, real, n_sequences)
        output = self.experts(tokens, routing).to(x.dtype)
        if self.shared is not None:
            output = output + self.shared(tokens)
        return output.view(x.shape), routing

    def _check(self, x: Tensor, input_ids: Tensor | None, mask: Tensor | None) -> None:
        floating = isinstance(x, Tensor) and x.is_floating_point()
        got = getattr(x, "dtype", type(x).__name__)
        require(floating, "x", got, "a tensor of floating-point numbers", TypeError)
        fits = x.dim() >= 1 and x.shape[-1] == self.hidden_size
        wants = f"a last dimension of hidden_size ({self.hidden_size})"
        require(fits, "x", tuple(x.shape), wants)
        for name, given in (("input_ids", input_ids), ("mask", mask)):
            if given is not None:
                require_shape(name, given, x.shape[:-1])


def _checked(router: Router, sizes: tuple[int, int], options: dict) -> Router:
    """A ready router, if it is one, has these numbers of experts and k, and needs no options."""
    is_router = isinstance(router, Router)
    require(is_router, "router", type(router).__name__, "a name or a Router", TypeError)
    require(not options, "router_options", sorted(options), "none with a ready router")
    has = router.n_routed_experts, router.num_experts_per_tok
    require(has == sizes, "router", f"{has} experts and k", f"a router of {sizes}")
    return router


def router_options(config: ModelConfig) -> dict:
    """The options of `config` that its router takes."""
    options = dict(
        routed_scaling_factor=config.routed_scaling_factor,
        capacity_factor=config.capacity_factor,
        capacity_per=config.capacity_per,
        n_group=config.n_group,
        never_drop_share=config.never_drop_share,
    )
    if config.router in ("topk", "biased_topk"):
        options |= dict(norm_topk_prob=config.norm_topk_prob, scoring_func=config.scoring_func)
    if config.router in ("group_limited", "biased_topk"):
        options |= dict(topk_group=config.topk_group)
    if config.router == "hash":
        options |= dict(vocab_size=config.vocab_size)
    return options
