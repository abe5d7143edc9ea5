"""The cache of generation: an object that the caller holds and passes in, nothing hidden."""

import torch
from torch import Tensor


class KVCache:
    """What attention keeps of the tokens seen so far, per layer.

    Multi-head and grouped-query attention: `keys` and `values`, each (batch, kv_heads, length, head_dim).
    Latent attention: `keys` alone, (batch, 1, length, kv_lora_rank + qk_rope_head_dim): the latent, from which every
    head's key and value can be made, and the one rotary key that all heads share. `values` stays empty.
    """

    def __init__(self):
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @property
    def length(self) -> int:
        """Positions held so far, padding included; equal for all rows of the batch."""
        return self.keys[0].shape[2] if self.keys else 0

    def append(self, layer: int, key: Tensor, value: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Add new positions for `layer` and return everything held for it, oldest first."""
        key = _extend(self.keys, layer, key)
        return key, None if value is None else _extend(self.values, layer, value)

    def number_of_elements(self) -> int:
        """Numbers held altogether: what the cache costs, to be multiplied by the bytes of one number."""
        return sum(tensor.numel() for tensor in (*self.keys, *self.values))


def _extend(held: list[Tensor], layer: int, new: Tensor) -> Tensor:
    if layer == len(held):
        held.append(new)
    else:
        held[layer] = torch.cat((held[layer], new), dim=2)
    return held[layer]
