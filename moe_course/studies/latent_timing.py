"""Attention of one new token over a cache, timed: chapter 08's experiment.

A layer of DeepSeek-V2's heads, random numbers. What is timed are functions that take turns, round
after round, so that what slows the machine down for a while meets all of them, and ratios are taken
within a round. On a CPU the clock counts the processor's seconds for this process, so other
programs do not count; elsewhere it is the wall's.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from moe_lib.devices import device
from moe_lib.validation import Count, Seed, checked


@dataclass(frozen=True)
class LatentCache:
    """What one layer has when a new token comes: S past tokens, `heads` heads.

    c         (S, d_c) latents; k_rotary (S, r) rotary keys, turned already
    W_UK      (heads, n, d_c) and W_UV (heads, v, d_c), the up matrices
    q         (heads, n + r), the new token's queries: content first, then rotary
    """

    c: Tensor
    k_rotary: Tensor
    W_UK: Tensor
    W_UV: Tensor
    q: Tensor

    @classmethod
    @checked
    def random(
        cls,
        tokens: Count,
        latent: Count = 512,
        heads: Count = 128,
        n: Count = 128,
        r: Count = 64,
        v: Count = 128,
        seed: Seed = 0,
    ) -> "LatentCache":
        """Normal numbers, on the course's device; scores are about as large as a model's."""
        draw = torch.Generator().manual_seed(seed)
        up = (heads, n, latent), (heads, v, latent)
        shapes = (tokens, latent), (tokens, r), *up, (heads, n + r)
        scales = 1.0, 1.0, latent**-0.5, latent**-0.5, 1.0
        parts = zip(shapes, scales, strict=True)
        return cls(*((torch.randn(s, generator=draw) * scale).to(device()) for s, scale in parts))


@checked
def take_turns(ways: Mapping[str, tuple], rounds: Count = 7) -> pd.DataFrame:
    """Milliseconds: a row per round, a column per way. One round before them is not counted.

    ways   per name a function that gives a tensor, and its arguments
    """
    rows = [{name: _milliseconds(*way) for name, way in ways.items()} for _ in range(rounds + 1)]
    return pd.DataFrame(rows[1:])


def _milliseconds(way: Callable[..., Tensor], *arguments) -> float:
    clock = time.process_time if device().type == "cpu" else time.perf_counter
    start = clock()
    way(*arguments).cpu()  # an accelerator has to finish before its result is here
    return 1000 * (clock() - start)
