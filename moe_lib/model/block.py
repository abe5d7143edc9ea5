"""One layer of the Transformer: attention, then a feed-forward layer, each added to the residual
stream."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.model.attention import Attention
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.layers import RMSNorm, SwiGLU
from moe_lib.model.moe import MoELayer, router_options
from moe_lib.model.routing import Routing

if TYPE_CHECKING:
    from moe_lib.model.cache import KVCache


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): a dense layer or an MoE."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        attention = LatentAttention if config.attention == "mla" else Attention
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = attention(config, layer)
        self.feed_forward_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if config.is_moe_layer(layer):
            self.feed_forward = MoELayer(
                config.hidden_size,
                config.moe_intermediate_size,
                config.n_routed_experts,
                config.num_experts_per_tok,
                config.n_shared_experts,
                router=config.router,
                mlp_bias=config.mlp_bias,
                **router_options(config),
            )
        else:
            sizes = config.hidden_size, config.intermediate_size
            self.feed_forward = SwiGLU(*sizes, config.mlp_bias)

    def forward(
        self,
        x: Tensor,
        angles: Tensor,
        visible: Tensor | None = None,
        cache: "KVCache | None" = None,
        input_ids: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """x (batch, sequence, hidden_size) -> (the same shape, Routing or None in a dense block).

        input_ids, mask (batch, sequence) go to the router: ids for a hash router, False at padding.
        """
        x = x + self.attention(self.attention_norm(x), angles, visible, cache)
        hidden = self.feed_forward_norm(x)
        if not isinstance(self.feed_forward, MoELayer):
            return x + self.feed_forward(hidden), None
        update, routing = self.feed_forward(hidden, input_ids, mask)
        return x + update, routing
