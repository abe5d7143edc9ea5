"""The layers of a `DecodingPlan`: each reads the residual stream x (batch, hidden_size) of one
token (batch,) per row and adds its update to it, in place.

What makes them fast, with the same result:

    merged      matrices that read the same input are stacked into one product
    partners    beside the rows that make rotary numbers a, b stand rows that make b, a: a product
                gives both, and turning is number · cos + partner · sin. One multiplication does it
                for all heads, queries and keys
    absorbed    latent attention over the latents themselves (`LatentAttention.absorbed`)
    set aside   products, keys and values are written into the same room at every step, and views of
                it are made once
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.model.attention import Attention
from moe_lib.model.cache import KVCache
from moe_lib.model.fast.ways import SOME_PAIRS, choose_way
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.layers import RMSNorm, SwiGLU
from moe_lib.model.moe import MoELayer


@dataclass(frozen=True)
class Setting:
    """What all layers of a plan share.

    batch, past, total   rows; positions held before the first step; positions held after the last
    factors              (batch or 1, 1, total - past, 2r): cosines, then sines with the sign of the
                         pair's first number
    hide                 (batch, 1, total): -inf at padding, 0 elsewhere; None without padding
    """

    batch: int
    past: int
    total: int
    factors: Tensor
    hide: Tensor | None

    def factors_by_step(self, magnitude: float = 1.0) -> tuple[Tensor, ...]:
        """For each position to come, (batch or 1, 1, 2r): what all rotary numbers and their
        partners are times."""
        return (self.factors * magnitude).unbind(2)


class Norm:
    """RMSNorm as √d · x / sqrt(‖x‖² + d · eps) · weight: four operations, where `F.rms_norm` takes
    about eight."""

    def __init__(self, norm: RMSNorm):
        width = len(norm.weight)
        self.weight = norm.weight * math.sqrt(width)
        self.floor = norm.weight.new_tensor(math.sqrt(width * norm.eps))

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.floor)
        return torch.mul(x / length, self.weight, out=out)


class Product:
    """x (batch, in) -> x Wᵀ + bias (batch, out). For several rows W is kept transposed: BLAS is up
    to twice as fast."""

    def __init__(self, weight: Tensor, bias: Tensor | None, batch: int):
        self.weight = weight.t().contiguous() if batch > 1 else weight.t()
        self.bias = bias

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        if self.bias is None:
            return torch.mm(x, self.weight, out=out)
        return torch.addmm(self.bias, x, self.weight, out=out)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        total.addmm_(x, self.weight)
        if self.bias is not None:
            total.add_(self.bias)


def rows_of(linear: nn.Linear) -> Tensor:
    """(out, in + 1): the weight, and the bias as a last column, so that both are stacked and moved
    as one."""
    bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return torch.cat((linear.weight, bias[:, None]), dim=1)


def merged(batch: int, *rows: Tensor) -> Product:
    """One product out of several, one under the other, each as `rows_of` gives it."""
    whole = torch.cat(rows)
    bias = whole[:, -1].clone()
    return Product(whole[:, :-1].contiguous(), bias if bias.any() else None, batch)


def with_partners(rows: Tensor) -> Tensor:
    """rows (..., r, in) -> (..., 2r, in): behind them once more, the two of each pair changing
    places"""
    partners = rows.unflatten(-2, (-1, 2)).flip(-2).flatten(-3, -2)
    return torch.cat((rows, partners), dim=-2)


def attend(query: Tensor, keys: Tensor, values: Tensor, held: int, hide: Tensor | None) -> Tensor:
    """query (n, queries, width), keys and values (n, total, ...) filled up to `held` -> (n,
    queries, value width)"""
    keys = keys.narrow(1, 0, held).transpose(1, 2)
    scores = (
        torch.bmm(query, keys)
        if hide is None
        else torch.baddbmm(hide.narrow(2, 0, held), query, keys)
    )
    return torch.bmm(scores.softmax(-1), values.narrow(1, 0, held))


class HeadsStep:
    """`Attention`. One product gives [queries with partners | keys with partners | values]."""

    def __init__(self, norm: RMSNorm, attention: Attention, cache: KVCache, setting: Setting):
        batch, past, heads, kv, width = (
            setting.batch,
            setting.past,
            attention.heads,
            attention.kv_heads,
            attention.head_dim,
        )
        self.norm, self.past, self.factors = Norm(norm), past, setting.factors_by_step()
        query = rows_of(attention.q_proj) * width**-0.5  # the scale of the scores
        turning = torch.cat((query, rows_of(attention.k_proj))).unflatten(0, (-1, width))
        self.into = merged(batch, with_partners(turning).flatten(0, 1), rows_of(attention.v_proj))
        self.out = Product(attention.o_proj.weight, attention.o_proj.bias, batch)

        self.product = turning.new_empty(batch, 2 * (heads + kv) * width + kv * width)
        turning, value = self.product.split((2 * (heads + kv) * width, kv * width), dim=1)
        self.turning, self.value = (
            turning.view(batch, heads + kv, 2 * width),
            value.view(batch, kv, width),
        )
        query, key = self.turning.split((heads, kv), dim=1)
        self.query_parts, self.key_parts = query.split(width, dim=-1), key.split(width, dim=-1)
        self.query = self.product.new_empty(batch, heads, width)
        # queries that share a key are queries of one attention
        self.grouped_query = self.query.view(batch * kv, heads // kv, width)
        self.keys, self.values = self.product.new_empty(2, batch, kv, setting.total, width)
        self.keys[:, :, :past], self.values[:, :, :past] = (
            cache.keys[attention.layer],
            cache.values[attention.layer],
        )
        self.hide = None if setting.hide is None else setting.hide.repeat_interleave(kv, dim=0)

    def add_to(self, x: Tensor, position: int, token: Tensor) -> None:
        self.into(self.norm(x), out=self.product)
        self.turning.mul_(self.factors[position - self.past])
        torch.add(*self.query_parts, out=self.query)
        torch.add(*self.key_parts, out=self.keys.select(2, position))
        self.values.select(2, position).copy_(self.value)
        keys, values = self.keys.flatten(0, 1), self.values.flatten(0, 1)
        mixed = attend(self.grouped_query, keys, values, position + 1, self.hide)
        self.out.add_to(x, mixed.view(len(x), -1))


class LatentStep:
    """`LatentAttention`. One product gives

        [latent of queries | latent | key with partners | queries with partners | queries without
        position]

    or, with compressed queries, one the first three parts and another, from the normed latent, the
    queries. Letters for widths are those of `LatentAttention`.
    """

    def __init__(self, norm: RMSNorm, attention: LatentAttention, cache: KVCache, setting: Setting):
        self.norm, self.past = Norm(norm), setting.past
        self.factors = setting.factors_by_step(attention.magnitude)
        self.rank, self.kv_norm = attention.rank, Norm(attention.kv_norm)
        self.q_norm = Norm(attention.q_norm) if attention.q_compressed else None
        up = attention.kv_up_proj.weight.unflatten(0, (attention.heads, -1))  # (h, n + v, d_c)
        self.key_up, value_up = up.split((attention.nope_dim, attention.value_dim), dim=1)
        self.value_up = value_up.transpose(1, 2)
        self.out = Product(attention.o_proj.weight, attention.o_proj.bias, setting.batch)
        self.hide = setting.hide
        self._merge(attention, setting.batch)
        self._set_aside(attention, cache, setting)

    def _merge(self, attention: LatentAttention, batch: int) -> None:
        query = (
            rows_of(attention.q_up_proj if attention.q_compressed else attention.q_proj)
            * attention.scale
        )
        plain, turning = query.unflatten(0, (attention.heads, -1)).split(
            (attention.nope_dim, attention.rope_dim), 1
        )
        queries = with_partners(turning).flatten(0, 1), plain.flatten(0, 1)
        latent, key = rows_of(attention.kv_down_proj).split((attention.rank, attention.rope_dim))
        if attention.q_compressed:
            self.into = merged(batch, rows_of(attention.q_down_proj), latent, with_partners(key))
            self.into_queries = merged(batch, *queries)
        else:
            self.into = merged(batch, latent, with_partners(key), *queries)

    def _set_aside(self, attention: LatentAttention, cache: KVCache, setting: Setting) -> None:
        batch, heads, rank, turned = (
            setting.batch,
            attention.heads,
            attention.rank,
            attention.rope_dim,
        )
        q_rank = attention.q_down_proj.out_features if attention.q_compressed else 0
        plain = heads * attention.nope_dim
        product = self.key_up.new_empty(batch, q_rank + rank + 2 * (1 + heads) * turned + plain)
        from_x = q_rank + rank + 2 * turned if attention.q_compressed else product.shape[1]
        self.from_x, self.from_q_latent = product[:, :from_x], product[:, from_x:]
        self.q_latent, self.latent, turning, plain = product.split(
            (q_rank, rank, 2 * (1 + heads) * turned, plain), dim=1
        )
        self.turning = turning.view(batch, 1 + heads, 2 * turned)
        self.key_parts = self.turning[:, 0].split(turned, dim=-1)
        self.query_parts = self.turning[:, 1:].split(turned, dim=-1)
        self.plain = plain.view(batch, heads, -1).transpose(0, 1)  # (h, batch, n)

        self.query = product.new_empty(batch, heads, rank + turned)
        self.carried, self.turned = self.query[..., :rank].transpose(0, 1), self.query[..., rank:]
        self.memory = product.new_empty(batch, setting.total, rank + turned)
        self.memory[:, : setting.past] = cache.keys[attention.layer][:, 0]
        self.latents, self.keys = self.memory.split((rank, turned), dim=-1)

    def add_to(self, x: Tensor, position: int, token: Tensor) -> None:
        self.into(self.norm(x), out=self.from_x)
        if self.q_norm is not None:
            self.into_queries(self.q_norm(self.q_latent), out=self.from_q_latent)
        self.turning.mul_(self.factors[position - self.past])
        self.kv_norm(self.latent, out=self.latents.select(1, position))
        torch.add(*self.key_parts, out=self.keys.select(1, position))
        self.carried.copy_(torch.bmm(self.plain, self.key_up))
        torch.add(*self.query_parts, out=self.turned)
        mixed = attend(
            self.query, self.memory, self.latents, position + 1, self.hide
        )  # (batch, h, d_c)
        values = torch.bmm(mixed.transpose(0, 1), self.value_up)  # (h, batch, v)
        self.out.add_to(x, values.transpose(0, 1).flatten(1))


class DenseStep:
    """`SwiGLU`. One product gives [gate | up]."""

    def __init__(self, norm: RMSNorm, layer: SwiGLU, setting: Setting):
        self.norm = Norm(norm)
        self.into = merged(setting.batch, rows_of(layer.gate_proj), rows_of(layer.up_proj))
        self.product = layer.gate_proj.weight.new_empty(
            setting.batch, 2 * layer.gate_proj.out_features
        )
        self.gate, self.up = self.product.chunk(2, dim=1)
        self.down = Product(layer.down_proj.weight, layer.down_proj.bias, setting.batch)

    def add_to(self, x: Tensor, position: int, token: Tensor) -> None:
        self.into(self.norm(x), out=self.product)
        self.down.add_to(x, F.silu(self.gate).mul_(self.up))


class MixtureStep:
    """`MoELayer`. One product gives [router logits | gate | up of the shared experts]; routed
    experts stay as they are, each a view of its matrix."""

    def __init__(self, norm: RMSNorm, layer: MoELayer, setting: Setting):
        self.norm, self.router = Norm(norm), layer.router
        rows = [F.pad(layer.router.weight, (0, 1))]  # no bias
        widths = [layer.router.n_routed_experts]
        self.down = None
        if layer.shared is not None:
            rows += [rows_of(layer.shared.gate_proj), rows_of(layer.shared.up_proj)]
            self.down = Product(
                layer.shared.down_proj.weight, layer.shared.down_proj.bias, setting.batch
            )
            widths += 2 * [layer.shared.gate_proj.out_features]
        self.into = merged(setting.batch, *rows)
        self.product = rows[0].new_empty(setting.batch, sum(widths))
        self.logits, *self.gate_and_up = self.product.split(widths, dim=1)
        self.gate_up_proj, self.down_proj = layer.experts.gate_up_proj, layer.experts.down_proj
        if setting.batch * layer.router.num_experts_per_tok <= SOME_PAIRS:
            self.gate_up_proj, self.down_proj = (
                self.gate_up_proj.unbind(0),
                self.down_proj.unbind(0),
            )

    def add_to(self, x: Tensor, position: int, token: Tensor) -> None:
        hidden = self.norm(x)
        self.into(hidden, out=self.product)
        if self.router.by_token_id:
            routing = self.router.gate(self.logits, self.router.table[token])
        else:
            routing = self.router.route(self.logits)
        x.add_(choose_way(hidden, routing)(hidden, routing, self.gate_up_proj, self.down_proj))
        if self.down is not None:
            gate, up = self.gate_and_up
            self.down.add_to(x, F.silu(gate).mul_(up))
