"""Multi-head attention with rotary positions; grouped-query with fewer key-value heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.model.rotary import rotate
from moe_lib.model_inputs import check_attention, check_input, check_visible
from moe_lib.validation import Natural, checked


class Attention(nn.Module):
    """softmax(q · k / sqrt(head_dim)) v over heads of `head_dim` numbers (Vaswani et al. 2017).

    forward(x (batch, sequence, hidden_size), angles, visible=None, cache=None) -> the shape of x
        angles   (batch or 1, sequence, head_dim / 2)
        visible  (batch or 1, 1, sequence, keys) bool: which keys a query may see, as `visible_keys`
                 makes it. None: all in a masked model, all earlier ones in a causal model
        cache    a KVCache, which keeps keys and values of the tokens before
    """

    @checked
    def __init__(self, config: ModelConfig, layer: Natural):
        super().__init__()
        check_attention(config, "mha", layer)
        self.layer, self.causal, self.head_dim = layer, config.causal, config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        d, kv_width = config.hidden_size, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(d, d, bias=False)
        self.k_proj = nn.Linear(d, kv_width, bias=False)
        self.v_proj = nn.Linear(d, kv_width, bias=False)
        self.o_proj = nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor, angles: Tensor, visible=None, cache=None) -> Tensor:
        check_input(x, self.heads * self.head_dim, self.q_proj)
        query = rotate(self.split(self.q_proj(x)), angles)  # (batch, heads, sequence, head_dim)
        key = rotate(self.split(self.k_proj(x)), angles)  # (batch, kv_heads, sequence, head_dim)
        value = self.split(self.v_proj(x))  # like key
        if cache is not None:  # keys are kept turned: their angles never change
            key, value = cache.append(self.layer, key, value)  # (batch, kv_heads, keys, head_dim)
        how = dict(attn_mask=visible, enable_gqa=self.kv_heads != self.heads)
        how["is_causal"] = self.causal and visible is None and x.shape[1] > 1
        mixed = F.scaled_dot_product_attention(query, key, value, **how)  # like query
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))  # (batch, sequence, hidden_size)

    def split(self, x: Tensor) -> Tensor:
        """(batch, sequence, heads · head_dim) -> (batch, heads, sequence, head_dim)"""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


def visible_keys(causal: bool, queries: int, attention_mask, past: int = 0) -> Tensor | None:
    """Which keys each query may see, (batch or 1, 1, queries, past + queries) bool; None where the
    default of `Attention` will do. attention_mask (batch, past + queries) is True at real tokens.
    A position always sees itself, also padding: a softmax over nothing would be NaN, and spread."""
    check_visible(causal, queries, attention_mask, past)
    if attention_mask is None and (past == 0 or queries == 1 or not causal):
        return None
    device = None if attention_mask is None else attention_mask.device
    rows = torch.arange(past, past + queries, device=device)[:, None]  # (queries, 1)
    columns = torch.arange(past + queries, device=device)  # (past + queries,)
    allowed = ((columns <= rows) | (not causal))[None, None]  # (1, 1, queries, past + queries)
    if attention_mask is not None:
        allowed = allowed & attention_mask[:, None, None, :].bool()  # (batch, 1, queries, …)
    return allowed | (rows == columns)
