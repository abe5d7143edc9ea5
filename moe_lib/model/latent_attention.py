"""Multi-head latent attention (DeepSeek-V2, section 2.1): a cache of one small vector per token.

Keys and values of all heads are linear maps of one latent, W_UK c and W_UV c, so only the latent c
is kept. A rotary turn between the two would forbid merging W_UK into the query; so position travels
in a short key of its own, shared by the heads, beside the latent: the decoupled rotary key.

Two ways to the same result:
    expanded   make keys and values of every head out of the latents, then attend as usual
               (training, prompts)
    absorbed   q · (W_UK c) = (W_UKᵀ q) · c, and Σ a (W_UV c) = W_UV (Σ a c): carry each query into
               the space of the latents, attend over them, bring the mix back (generation)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.layer_inputs import check_attention, check_input
from moe_lib.model.layers import RMSNorm
from moe_lib.model.rotary import rotary_magnitude, rotate, softmax_factor
from moe_lib.validation import Natural, checked

LATENT_NORM_EPS = 1e-6  # whatever rms_norm_eps is: so the official code builds these two norms


class LatentAttention(nn.Module):
    """Attention through low-rank latents (DeepSeek-V2, equations 37 to 47).

    Sizes: h heads, n = qk_nope_head_dim, r = qk_rope_head_dim, v = v_head_dim, d_c = kv_lora_rank.

    q_proj        (h(n + r), hidden): queries straight from x, with q_lora_rank None; else
    q_down_proj, q_norm, q_up_proj    queries through a latent of q_lora_rank numbers
    kv_down_proj  (d_c + r, hidden): the latent of keys and values, then the rotary key
    kv_norm       over the latent
    kv_up_proj    (h(n + v), d_c): for each head n rows that make its key (W_UK), then v that make
                  its value (W_UV)
    o_proj        (hidden, h·v)

    forward(x (batch, sequence, hidden), angles (batch or 1, sequence, r/2), visible=None,
    cache=None) -> like x, all as in `Attention`.
    """

    @checked
    def __init__(self, config: ModelConfig, layer: Natural):
        super().__init__()
        check_attention(config, "mla", layer)
        self.layer, self.causal, self.heads = layer, config.causal, config.num_attention_heads
        self.nope_dim, self.rope_dim = config.qk_nope_head_dim, config.qk_rope_head_dim
        self.value_dim, self.rank = config.v_head_dim, config.kv_lora_rank
        self.magnitude = rotary_magnitude(config.rope_scaling)
        self.scale = (self.nope_dim + self.rope_dim) ** -0.5 * softmax_factor(config.rope_scaling)
        self.d, bias = config.hidden_size, config.attention_bias
        queries, keys_and_values = self.nope_dim + self.rope_dim, self.nope_dim + self.value_dim
        self.q_compressed = config.q_lora_rank is not None
        if self.q_compressed:
            self.q_down_proj = nn.Linear(self.d, config.q_lora_rank, bias=bias)
            self.q_norm = RMSNorm(config.q_lora_rank, LATENT_NORM_EPS)
            self.q_up_proj = nn.Linear(config.q_lora_rank, self.heads * queries, bias=False)
        else:
            self.q_proj = nn.Linear(self.d, self.heads * queries, bias=False)
        self.kv_down_proj = nn.Linear(self.d, self.rank + self.rope_dim, bias=bias)
        self.kv_norm = RMSNorm(self.rank, LATENT_NORM_EPS)
        self.kv_up_proj = nn.Linear(self.rank, self.heads * keys_and_values, bias=False)
        self.o_proj = nn.Linear(self.heads * self.value_dim, self.d, bias=bias)

    def forward(self, x: Tensor, angles: Tensor, visible=None, cache=None) -> Tensor:
        check_input(x, self.d, self.kv_down_proj)
        query, memory = self.query(x, angles), self.memory(x, angles)
        if cache is not None:
            memory, _ = cache.append(self.layer, memory)  # (batch, 1, keys, d_c + r)
        # A prompt has as many queries as keys: then expanding each key once is cheaper.
        attend = self.absorbed if memory.shape[2] > x.shape[1] else self.expanded
        mixed = attend(query, memory, visible)  # (batch, h, sequence, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))  # (batch, sequence, hidden)

    def query(self, x: Tensor, angles: Tensor) -> Tensor:
        """(batch, sequence, hidden) -> (batch, h, sequence, n + r): without position, turned."""
        compressed = self.q_compressed
        query = self.q_up_proj(self.q_norm(self.q_down_proj(x))) if compressed else self.q_proj(x)
        plain, turning = self._heads(query, self.nope_dim, self.rope_dim)
        return torch.cat((plain, rotate(turning, angles, self.magnitude)), dim=-1)

    def memory(self, x: Tensor, angles: Tensor) -> Tensor:
        """(batch, sequence, hidden) -> (batch, 1, sequence, d_c + r): what is kept of a token."""
        latent, key = self.kv_down_proj(x)[:, None].split((self.rank, self.rope_dim), dim=-1)
        return torch.cat((self.kv_norm(latent), rotate(key, angles, self.magnitude)), dim=-1)

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """memory (batch, 1, keys, d_c + r) -> (batch, h, keys, n + r) and (batch, h, keys, v)"""
        latent, shared_key = memory.split((self.rank, self.rope_dim), dim=-1)
        key, value = self._heads(self.kv_up_proj(latent[:, 0]), self.nope_dim, self.value_dim)
        return torch.cat((key, shared_key.expand(-1, self.heads, -1, -1)), dim=-1), value

    def expanded(self, query: Tensor, memory: Tensor, visible: Tensor | None = None) -> Tensor:
        """query (batch, h, sequence, n + r), memory (batch, 1, keys, d_c + r) -> (…, v)"""
        key, value = self.keys_and_values(memory)
        # The fast kernels want values as wide as keys; the plain one is half as fast.
        value = F.pad(value, (0, max(0, key.shape[-1] - self.value_dim)))  # (…, max(n + r, v))
        how = dict(attn_mask=visible, scale=self.scale)
        how["is_causal"] = self.causal and visible is None and query.shape[2] > 1
        mixed = F.scaled_dot_product_attention(query, key, value, **how)  # like query
        return mixed[..., : self.value_dim]

    def absorbed(self, query: Tensor, memory: Tensor, visible: Tensor | None = None) -> Tensor:
        """As `expanded`; one key for all heads, the memory itself, with its latent as value."""
        up = self.kv_up_proj.weight.unflatten(0, (self.heads, -1))  # (h, n + v, d_c)
        key_up, value_up = up.split((self.nope_dim, self.value_dim), dim=1)
        plain, turned = query.split((self.nope_dim, self.rope_dim), dim=-1)
        carried = torch.cat((_per_head(plain, key_up), turned), dim=-1)  # (batch, h, …, d_c + r)
        rows = carried.flatten(1, 2)[:, None]  # (batch, 1, h · sequence, d_c + r): more queries

        new, held = query.shape[2], memory.shape[2]
        if visible is None and self.causal and new > 1:
            visible = torch.ones(1, 1, new, held, dtype=torch.bool, device=query.device)
            visible = visible.tril(held - new)
        if visible is not None:
            visible = visible.expand(-1, self.heads, -1, -1).flatten(1, 2)[:, None]  # as rows
        how = dict(attn_mask=visible, scale=self.scale)
        mixed = F.scaled_dot_product_attention(rows, memory, memory, **how)  # like rows
        latent = mixed[:, 0, :, : self.rank]  # (batch, h · sequence, d_c)
        latent = latent.unflatten(1, (self.heads, -1))  # (batch, h, sequence, d_c)
        return _per_head(latent, value_up.transpose(1, 2))

    def _heads(self, x: Tensor, *widths: int) -> tuple[Tensor, ...]:
        """(batch, sequence, h · sum(widths)) -> one (batch, h, sequence, width) per width"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).split(widths, dim=-1)


def _per_head(x: Tensor, weight: Tensor) -> Tensor:
    """x (batch, h, sequence, in), weight (h, in, out) -> (batch, h, sequence, out)"""
    # x @ weight would copy the weight for every text: one product per head takes all rows.
    rows = x.transpose(0, 1)  # (h, batch, sequence, in)
    product = torch.bmm(rows.flatten(1, 2), weight)  # (h, batch · sequence, out)
    return product.unflatten(1, rows.shape[1:3]).transpose(0, 1)
