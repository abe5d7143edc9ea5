"""One layer of the Transformer: attention and a feed-forward layer, each added to the stream."""

from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.model.attention import Attention
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.layers import RMSNorm, SwiGLU
from moe_lib.model.moe import MoELayer, moe_layer
from moe_lib.model.routing import Routing
from moe_lib.validation import Natural, checked


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): a dense layer or an MoE."""

    @checked
    def __init__(self, config: ModelConfig, layer: Natural):
        super().__init__()
        attention = LatentAttention if config.attention == "mla" else Attention
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = attention(config, layer)
        self.feed_forward_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        sizes = config.hidden_size, config.intermediate_size
        is_moe = config.is_moe_layer(layer)
        self.feed_forward = moe_layer(config, layer) if is_moe else SwiGLU(*sizes, config.mlp_bias)

    def forward(
        self, x: Tensor, angles: Tensor, visible=None, cache=None, input_ids=None, mask=None
    ) -> tuple[Tensor, Routing | None]:
        """x (batch, sequence, hidden_size) -> (the same shape, Routing or None in a dense block).
        angles, visible and cache are for the attention; input_ids and mask (batch, sequence) for
        the router: ids for a hash router, False at padding."""
        x = x + self.attention(self.attention_norm(x), angles, visible, cache)
        hidden = self.feed_forward_norm(x)
        if not isinstance(self.feed_forward, MoELayer):
            return x + self.feed_forward(hidden), None
        update, routing = self.feed_forward(hidden, input_ids, mask)
        return x + update, routing
