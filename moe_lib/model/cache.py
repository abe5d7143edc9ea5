"""The key-value cache of generation: an object that the caller holds and passes in, nothing hidden."""

import torch
from torch import Tensor


class KVCache:
    """Keys and values of the tokens seen so far, per layer, each (batch, kv_heads, length, head_dim)."""

    def __init__(self):
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @property
    def length(self) -> int:
        """Tokens held so far: the position of the next one. Unpadded count, equal for all rows of the batch."""
        return self.keys[0].shape[2] if self.keys else 0

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions for `layer` and return everything held for it, oldest first."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat((self.keys[layer], key), dim=2)
            self.values[layer] = torch.cat((self.values[layer], value), dim=2)
        return self.keys[layer], self.values[layer]

    def number_of_elements(self) -> int:
        """Numbers held altogether: what the cache costs, to be multiplied by the bytes of one number."""
        return sum(tensor.numel() for tensor in (*self.keys, *self.values))
