"""The cache of generation: an object that the caller holds and passes in, nothing hidden."""

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.layer_inputs import check_cache_entry
from moe_lib.model.fast.room import Room
from moe_lib.validation import Count, checked


class KVCache:
    """What attention keeps of the tokens seen so far, per layer.

    Multi-head and grouped-query attention: `keys` and `values`, each (batch, kv_heads, length,
    head_dim). Latent attention: `keys` alone, (batch, 1, length, kv_lora_rank + qk_rope_head_dim),
    the latent that makes every head's key and value, and the one rotary key of all heads.

    room  positions to set aside at once, so that new ones are written in place; gradients cannot
          pass that. None: the cache grows by copying. ValueError below one, and when it is full.
    """

    @checked
    def __init__(self, room: Count | None = None):
        self.room, self._set_aside = room, None if room is None else Room(room)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @property
    def length(self) -> int:
        """Positions held so far, padding included; equal for all rows of the batch."""
        return self.keys[0].shape[2] if self.keys else 0

    def append(self, layer: int, key: Tensor, value: Tensor | None = None) -> tuple:
        """Add new positions for `layer` and return everything held for it, oldest first."""
        keys = self._extend("keys", layer, key)
        return keys, None if value is None else self._extend("values", layer, value)

    def number_of_elements(self) -> int:
        """Numbers held altogether: what the cache costs, times the bytes of one number."""
        return sum(tensor.numel() for tensor in (*self.keys, *self.values))

    def _extend(self, name: str, layer: int, new: Tensor) -> Tensor:
        held: list[Tensor] = getattr(self, name)
        if not (type(layer) is int and 0 <= layer < len(held)):
            check_cache_entry(layer, new, len(held))
            held.append(new[:, :, :0])
        past, got = held[layer], tuple(held[layer].shape)
        fits = new.dim() == 4 and (*got[:2], got[3]) == (*new.shape[:2], new.shape[3])
        require(fits, "cache", f"{name} {got}", f"{name} of this model, for {len(new)} rows")
        if self._set_aside is None:
            held[layer] = torch.cat((past, new), dim=2)  # (batch, heads, past + new, width)
        else:
            held[layer] = self._set_aside.write((name, layer), past.shape[2], new)
        return held[layer]
