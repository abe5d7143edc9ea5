"""Rotary positions (Su et al. 2021), on adjacent pairs as DeepSeek does it.

Each pair of numbers (x[2i], x[2i+1]) of a query or key is turned by the angle position · theta^(-2i/d).
The dot product of a turned query with a turned key then depends on their distance alone.
"""

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, head_dim: int, theta: float = 10000.0) -> Tensor:
    """positions (...) -> angles (..., head_dim / 2), float32, in radians."""
    pair = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    speed = theta ** (-pair / head_dim)  # fast for the first pair, slow for the last
    return positions[..., None].float() * speed


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn adjacent pairs of x (batch, heads, sequence, head_dim) by angles (batch or 1, sequence, head_dim / 2)."""
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]  # the heads share them
    first, second = x.float()[..., 0::2], x.float()[..., 1::2]
    turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)
