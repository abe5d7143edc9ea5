"""Tokens that an expert takes more often than its load explains."""

from dataclasses import dataclass

import torch
from torch import Tensor

SHOWN = 8  # tokens per expert
MIN_COUNT = 10  # rarer tokens are left out: a token that occurs once always has a favourite


@dataclass(frozen=True)
class TokenShare:
    """share     of the token's occurrences that take the expert, 0 to 1
    low, high  95 % interval of it (Wilson, 1927), occurrences taken for independent
    count      occurrences
    by_chance  the largest share that any token of at least MIN_COUNT has with this expert where
               tokens and routing are mixed
    """

    token: int
    share: float
    low: float
    high: float
    count: int
    by_chance: float


def token_shares(experts: Tensor, ids: Tensor, n_experts: int, seed: int) -> list[list[TokenShare]]:
    """experts (tokens, k), -1 for no choice; ids (tokens,) -> up to SHOWN per expert, those whose
    share lies most above the expert's load first."""
    tokens, place = ids.unique(return_inverse=True)
    count = torch.bincount(place, minlength=len(tokens))
    often = count >= MIN_COUNT
    share = _shares(experts, place, count, n_experts)  # (vocabulary, E)
    generator = torch.Generator().manual_seed(seed)
    mixed = place[torch.randperm(len(place), generator=generator)]
    chance = _shares(experts, mixed, count, n_experts)[often]
    chance = chance.max(0).values if len(chance) else torch.zeros(n_experts).double()
    load = torch.bincount(experts[experts >= 0], minlength=n_experts) / max(1, len(experts))
    low, high = _wilson(share, count[:, None])
    above = (share - load).masked_fill(~often[:, None], -1)
    best = above.topk(min(SHOWN, len(tokens)), dim=0)
    found = []
    for expert in range(n_experts):
        rows = [
            row
            for value, row in zip(best.values[:, expert], best.indices[:, expert], strict=True)
            if value > 0
        ]
        found.append(
            [
                TokenShare(
                    int(tokens[row]),
                    float(share[row, expert]),
                    float(low[row, expert]),
                    float(high[row, expert]),
                    int(count[row]),
                    float(chance[expert]),
                )
                for row in rows
            ]
        )
    return found


def _shares(experts: Tensor, place: Tensor, count: Tensor, n_experts: int) -> Tensor:
    flat = (place[:, None] * n_experts + experts)[experts >= 0]
    table = torch.bincount(flat, minlength=len(count) * n_experts).view(len(count), n_experts)
    return table.double() / count[:, None]


def _wilson(share: Tensor, n: Tensor, z: float = 1.96) -> tuple[Tensor, Tensor]:
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)).sqrt()
    return (middle - half).clamp(min=0), (middle + half).clamp(max=1)
