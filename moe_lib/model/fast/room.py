"""Room that a cache sets aside once, so that a new position is written and nothing is copied."""

from torch import Tensor

from moe_lib.errors import require


class Room:
    """One buffer of `positions` positions for each thing that a cache holds.

    Gradients cannot pass writing in place. ValueError when the room is full.
    """

    def __init__(self, positions: int):
        self.positions = positions
        self.buffers: dict[tuple[str, int], Tensor] = {}

    def write(self, place: tuple[str, int], past: int, new: Tensor) -> Tensor:
        """new (batch, heads, length, width) behind `past` positions -> all (…, past + length, …)"""
        batch, heads, length, width = new.shape
        end = past + length
        require(end <= self.positions, "room", self.positions, f"at least {end}, or None")
        if past == 0:
            self.buffers[place] = new.new_empty(batch, heads, self.positions, width)
        self.buffers[place][:, :, past:end] = new
        return self.buffers[place][:, :, :end]
