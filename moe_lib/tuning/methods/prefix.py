"""Prefix-tuning: trained keys and values stand before the text in every layer (Li & Liang 2021).

They are what a cache holds of tokens already read, but tokens that no text could have: free
numbers, learned. So the prefix goes where the cache goes, in front of the keys and values of the
real tokens, and every query sees it.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from moe_lib.config import ModelConfig
from moe_lib.counting import kv_cache_elements_per_token
from moe_lib.errors import require
from moe_lib.model import KVCache, LatentAttention
from moe_lib.tuning.methods.base import Attached, Method
from moe_lib.validation import Count, Flag, PathLike, checked, whole


class LayerPrefix(nn.Module):
    """The prefix of one layer, (length, width): a parameter, or made by an MLP.

    trunk   the part of the MLP that all layers share, gives (length, hidden); None: the vectors
            themselves are trained
    """

    def __init__(self, length: int, width: int, trunk: "Trunk | None" = None):
        super().__init__()
        self.trunk, self.enabled = trunk, True
        if trunk is None:
            self.vectors = nn.Parameter(torch.empty(length, width).normal_(std=1.0))
        else:
            self.out = nn.Linear(trunk.hidden, width)

    def forward(self) -> Tensor:
        return self.vectors if self.trunk is None else self.out(self.trunk())


class Trunk(nn.Module):
    """tanh(W P + b), with an embedding P (length, hidden_size) of the places of the prefix ->
    (length, hidden)."""

    def __init__(self, length: int, hidden_size: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Parameter(torch.empty(length, hidden_size).normal_())
        self.linear = nn.Linear(hidden_size, hidden)

    def forward(self) -> Tensor:
        return torch.tanh(self.linear(self.embedding))


class PrefixedCache:
    """Stands in for the cache of one layer in one pass: what it gives back begins with the prefix.

    parts   keys and values, each (1, kv_heads, length, head_dim); latent attention: (1, 1, length,
            d_c + r) alone
    cache   the caller's own, which never holds the prefix; None: nothing was read before
    """

    def __init__(self, parts: tuple[Tensor, ...], cache: KVCache | None):
        self.parts, self.cache = parts, cache

    def append(self, layer: int, *new: Tensor) -> tuple[Tensor, Tensor | None]:
        held = (
            new
            if self.cache is None
            else [kept for kept in self.cache.append(layer, *new) if kept is not None]
        )
        whole = [
            torch.cat((first.to(later).expand(len(later), -1, -1, -1), later), dim=2)
            for first, later in zip(self.parts, held, strict=True)
        ]
        return (*whole, None)[:2]


def split_heads(attention: nn.Module, vectors: Tensor) -> tuple[Tensor, ...]:
    """(length, width) -> what the layer's cache holds: keys and values, (1, kv_heads, length,
    head_dim) each; latent attention: (1, 1, length, kv_lora_rank + qk_rope_head_dim)."""
    if isinstance(attention, LatentAttention):
        return (vectors[None, None],)
    heads = vectors.unflatten(
        1, (2, attention.kv_heads, attention.head_dim)
    )  # (length, 2, kv_heads, head_dim)
    return tuple(part[None] for part in heads.permute(1, 2, 0, 3))


def see_prefix(
    visible: Tensor | None, length: int, queries: int, causal: bool, device
) -> Tensor | None:
    """`visible` (batch or 1, 1, queries, keys) with the prefix, which all queries see, in front."""
    if visible is None:
        if not causal or queries == 1:
            return None  # everything is visible
        visible = torch.ones(queries, queries, dtype=torch.bool, device=device).tril()[None, None]
    return torch.cat((visible.new_ones(*visible.shape[:3], length), visible), dim=-1)


def _put_before(attention: nn.Module, args: tuple, kwargs: dict):
    """A hook before attention's forward(x, angles, visible=None, cache=None)."""
    prefix = attention.prefix
    if not prefix.enabled:
        return None
    given = dict(zip(("x", "angles", "visible", "cache"), args, strict=False)) | kwargs
    x, vectors = given["x"], prefix()
    visible = see_prefix(given.get("visible"), len(vectors), x.shape[1], attention.causal, x.device)
    return (
        x,
        given["angles"],
        visible,
        PrefixedCache(split_heads(attention, vectors), given.get("cache")),
    ), {}


class AttachedPrefix(Attached):
    def _install(self) -> None:
        method, config = self.method, self.model.config
        hidden = method.hidden or config.hidden_size
        trunk = Trunk(method.length, config.hidden_size, hidden) if method.reparameterise else None
        for block in self.model.layers:
            self._put(block.attention, LayerPrefix(method.length, prefix_width(config), trunk))
        self.hooks = [
            block.attention.register_forward_pre_hook(_put_before, with_kwargs=True)
            for block in self.model.layers
        ]

    def _put(self, attention: nn.Module, prefix: LayerPrefix) -> None:
        reference = next(attention.parameters())
        attention.prefix = prefix.to(reference.device, reference.dtype)

    def _remove(self) -> None:
        for block, hook in zip(self.model.layers, self.hooks, strict=True):
            hook.remove()
            del block.attention.prefix

    def _switch(self, on: bool) -> None:
        for block in self.model.layers:
            block.attention.prefix.enabled = on

    def tensors(self) -> dict[str, Tensor]:
        """The vectors of each layer (length, width): the MLP, if there is one, is not saved."""
        # detach() shares the memory of a parameter: load_adapter can copy into it
        return {
            f"layers.{number}.attention.prefix.vectors": block.attention.prefix().detach()
            for number, block in enumerate(self.model.layers)
        }

    def save(self, folder: PathLike) -> Path:
        """As for every method; what is read back is a prefix without MLP."""
        method = self.method
        self.method = dataclasses.replace(method, reparameterise=False, hidden=None)
        try:
            return super().save(folder)
        finally:
            self.method = method

    def _saved_numbers(self) -> int:
        return self.method.count(self.model.config)

    def drop_mlp(self) -> None:
        """After training: keep the vectors that the MLP makes, and drop the MLP. The model computes
        the same."""
        self._require_live()
        with torch.no_grad():
            for block in self.model.layers:
                old = block.attention.prefix
                new = LayerPrefix(*old().shape)
                new.vectors.copy_(old())
                new.enabled = old.enabled
                self._put(block.attention, new)
        self.method = dataclasses.replace(self.method, reparameterise=False, hidden=None)
        self._trained = {
            name: p for name, p in self.model.named_parameters() if name.endswith(".prefix.vectors")
        }


@checked
@dataclass(frozen=True)
class Prefix(Method):
    """length          places of the prefix in every layer
    reparameterise  while training, an MLP makes the vectors of all layers out of an embedding of
                    the places (section 4.3 of the paper). Only its results are saved
    hidden          width of that MLP; None: the model's hidden_size

    Multi-head and grouped-query attention: a key and a value per layer, place and key-value head.
    Latent attention: a latent and a rotary key per layer and place, for that is what its cache
    holds of a token (ours; the paper is older than latent attention).

    Positions: real tokens keep the positions 0, 1, 2 … that they have without a prefix. The
    prefix's keys are learned as they are after the rotary turn. To count the prefix as positions
    too would change nothing: all queries would be turned by one more angle, and the learned keys
    with them.

    Trains L · length · 2 · num_key_value_heads · head_dim numbers, or L · length · (kv_lora_rank +
    qk_rope_head_dim); with the MLP more, until it is dropped. It cannot be merged: it is no change
    of a weight.
    """

    attached_class = AttachedPrefix

    length: Annotated[int, whole(1, 2**20)] = 8
    reparameterise: Flag = False
    hidden: Count | None = None

    def __post_init__(self):
        wants = "None without reparameterise: there is no MLP"
        require(self.reparameterise or self.hidden is None, "hidden", self.hidden, wants)

    def count(self, config: ModelConfig) -> int:
        width = config.num_hidden_layers * prefix_width(config)
        if not self.reparameterise:
            return self.length * width
        d, hidden = config.hidden_size, self.hidden or config.hidden_size
        return self.length * d + (d + 1) * hidden + (hidden + 1) * width


def prefix_width(config: ModelConfig) -> int:
    """Numbers per layer and place: as many as the cache holds of a token."""
    return kv_cache_elements_per_token(config) // config.num_hidden_layers
