"""Rotary positions (Su et al. 2021) on adjacent pairs, as DeepSeek has them, and YaRN.

Each pair of numbers (x[2i], x[2i+1]) of a query or key is turned by position · theta^(-2i/d). The
dot product of a turned query with a turned key then depends on their distance alone.

YaRN (Peng et al. 2023) stretches a model that was trained on short texts: pairs that turn slowly,
so that a longer text would show them angles they have never seen, are slowed down by `factor`; fast
pairs stay as they are. Softmax over more keys is flatter, so the scores are made larger. `scaling`
is `ModelConfig.rope_scaling`, or None.
"""

import math

import torch
from torch import Tensor

from moe_lib.layer_inputs import check_rotary, check_turn
from moe_lib.validation import require_tensor


def rotary_angles(positions: Tensor, head_dim: int, theta=10000.0, scaling=None) -> Tensor:
    """positions (...) -> angles (..., head_dim / 2), float32, in radians."""
    require_tensor("positions", positions)
    return positions[..., None].float() * rotary_speeds(head_dim, theta, scaling, positions.device)


def rotary_speeds(head_dim: int, theta=10000.0, scaling=None, device=None) -> Tensor:
    """Radians per position of each pair, (head_dim / 2,) float32: fast first, slow last."""
    check_rotary(head_dim, theta, scaling)
    pair = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32)  # (head_dim / 2,)
    radius = theta ** (pair / head_dim)  # positions per radian
    if scaling is None:
        return 1 / radius
    slowed = slowed_share(head_dim, theta, scaling).to(radius.device)
    return slowed / (scaling["factor"] * radius) + (1 - slowed) / radius


def slowed_share(head_dim: int, theta: float, scaling: dict) -> Tensor:
    """Per pair, (head_dim / 2,) float32: 0 keeps its speed, 1 is slowed by the whole factor.
    A pair is kept if it turns `beta_fast` times or more within the original context, slowed if it
    turns `beta_slow` times or less; in between the share grows linearly (YaRN, section 3.2)."""
    original = scaling["original_max_position_embeddings"]

    def pair_that_turns(times: float) -> float:
        """Solves original / (2π · theta^(2i/d)) = times for i."""
        return head_dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_that_turns(scaling["beta_fast"]), pair_that_turns(scaling["beta_slow"])
    if scaling["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # a step instead of a ramp
    return ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)


def rotary_magnitude(scaling: dict | None) -> float:
    """A factor of queries and keys: `attention_factor`, the mscales' ratio, or YaRN's own value."""
    if scaling is None:
        return 1.0
    factor, mscale, mscale_all_dim = scaling["factor"], scaling["mscale"], scaling["mscale_all_dim"]
    if scaling["attention_factor"] is not None:
        return scaling["attention_factor"]
    if mscale and mscale_all_dim:
        return yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim)
    return yarn_mscale(factor)


def softmax_factor(scaling: dict | None) -> float:
    """What multiplies all scores besides 1/sqrt(d): an mscale for the query, one for the key.
    A model without it is right at position 0, where one key takes all the attention whatever its
    score, and wrong everywhere else."""
    if scaling is None or not scaling["mscale_all_dim"]:
        return 1.0
    return yarn_mscale(scaling["factor"], scaling["mscale_all_dim"]) ** 2


def yarn_mscale(factor: float, mscale: float = 1.0) -> float:
    """0.1 · mscale · ln(factor) + 1; DeepSeek-V2: 0.0707 ln s + 1 (3.1.4), its mscale is 0.707."""
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def rotate(x: Tensor, angles: Tensor, magnitude: float = 1.0) -> Tensor:
    """Turn adjacent pairs of x (batch, heads, sequence, head_dim) by angles (batch or 1, sequence,
    head_dim / 2): (a, b) becomes magnitude · (a cos - b sin, b cos + a sin)."""
    check_turn(x, angles)
    cos, sin = angles.cos(), angles.sin()
    cos = torch.stack((cos, cos), -1).flatten(-2)[:, None]  # (batch or 1, 1, sequence, head_dim)
    sin = torch.stack((-sin, sin), -1).flatten(-2)[:, None]  # like cos
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    partner = wide.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # like x: the other one of each pair
    turned = wide * cos + partner * sin
    return (turned if magnitude == 1 else turned * magnitude).to(x.dtype)
