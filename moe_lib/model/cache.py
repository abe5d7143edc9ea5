"""The cache of generation: an object that the caller holds and passes in, nothing hidden."""

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole


class KVCache:
    """What attention keeps of the tokens seen so far, per layer.

    Multi-head and grouped-query attention: `keys` and `values`, each (batch, kv_heads, length,
    head_dim). Latent attention: `keys` alone, (batch, 1, length, kv_lora_rank + qk_rope_head_dim):
    the latent, from which every head's key and value can be made, and the one rotary key that all
    heads share. `values` stays empty.

    room  positions to make room for at once. New ones are then written in place, instead of copying
          all that is held for each token; gradients cannot pass that. None: the cache grows by
          copying.

    Raises ValueError for a room below one, and when it is full.
    """

    def __init__(self, room: int | None = None):
        if room is not None:
            require_whole("room", room)
        self.room = room
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._rooms: dict[tuple[str, int], Tensor] = {}  # what they are the filled part of

    @property
    def length(self) -> int:
        """Positions held so far, padding included; equal for all rows of the batch."""
        return self.keys[0].shape[2] if self.keys else 0

    def append(
        self, layer: int, key: Tensor, value: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Add new positions for `layer` and return everything held for it, oldest first."""
        keys = self._extend("keys", layer, key)
        return keys, None if value is None else self._extend("values", layer, value)

    def number_of_elements(self) -> int:
        """Numbers held altogether: what the cache costs, times the bytes of one number."""
        return sum(tensor.numel() for tensor in (*self.keys, *self.values))

    def _extend(self, name: str, layer: int, new: Tensor) -> Tensor:
        held: list[Tensor] = getattr(self, name)
        if layer == len(held):
            held.append(new[:, :, :0])
        past = held[layer]
        fits = (*past.shape[:2], past.shape[3]) == (*new.shape[:2], new.shape[3])
        got, wants = tuple(past.shape), f"one made by this model for a batch of {len(new)}"
        require(fits, "cache", f"keys or values of shape {got}", wants)
        if self.room is None:
            held[layer] = torch.cat((past, new), dim=2)  # (batch, heads, past + new, width)
        else:
            held[layer] = self._write((name, layer), past.shape[2], new)
        return held[layer]

    def _write(self, place: tuple[str, int], past: int, new: Tensor) -> Tensor:
        """Into the room that is set aside for this layer, from position `past` on."""
        batch, heads, length, width = new.shape
        end = past + length
        require(end <= self.room, "room", self.room, f"at least {end}, or None")
        if past == 0:
            self._rooms[place] = new.new_empty(batch, heads, self.room, width)
        self._rooms[place][:, :, past:end] = new
        return self._rooms[place][:, :, :end]
