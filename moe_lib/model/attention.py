"""Multi-head attention with rotary positions; grouped-query when there are fewer key-value
heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.model.cache import KVCache
from moe_lib.model.rotary import Turns, rotate


class Attention(nn.Module):
    """Scaled dot-product attention over heads of `head_dim` numbers (Vaswani et al. 2017).

    forward(x (batch, sequence, hidden_size), angles, visible=None, cache=None) -> the shape of x.
    `angles` (batch or 1, sequence, head_dim / 2), or their Turns.
    `visible` (batch or 1, 1, sequence, keys) bool says which keys a query may see; None means all
    of them in a masked model and all earlier ones in a causal model.
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer = layer
        self.causal = config.causal
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        d, kv_width = config.hidden_size, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(d, d, bias=False)
        self.k_proj = nn.Linear(d, kv_width, bias=False)
        self.v_proj = nn.Linear(d, kv_width, bias=False)
        self.o_proj = nn.Linear(d, d, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: Tensor | Turns,
        visible: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        query = rotate(self._split(self.q_proj(x), self.heads), angles)
        key = rotate(self._split(self.k_proj(x), self.kv_heads), angles)
        value = self._split(self.v_proj(x), self.kv_heads)
        if cache is not None:
            key, value = cache.append(
                self.layer, key, value
            )  # keys are kept turned: angles never change
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=visible,
            is_causal=self.causal and visible is None and x.shape[1] > 1,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        """(batch, sequence, heads · head_dim) -> (batch, heads, sequence, head_dim)"""
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)


def visible_keys(
    causal: bool, queries: int, attention_mask: Tensor | None, past: int = 0
) -> Tensor | None:
    """Which keys each query may see, (batch or 1, 1, queries, past + queries) bool; None if the
    default will do.

    attention_mask (batch, past + queries) is True at real tokens. A position always sees itself,
    also when it is padding: a softmax over nothing would be NaN, and NaN would spread to real
    tokens through the weights.
    """
    if attention_mask is None and (past == 0 or queries == 1 or not causal):
        return None
    device = attention_mask.device if attention_mask is not None else None
    rows = torch.arange(past, past + queries, device=device)[:, None]
    columns = torch.arange(past + queries, device=device)[None]
    allowed = (columns <= rows if causal else torch.ones_like(columns <= rows))[None, None]
    if attention_mask is not None:
        allowed = allowed & attention_mask[:, None, None, :].bool()
    return allowed | (rows == columns)[None, None]
