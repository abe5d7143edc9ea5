"""Passages most of whose tokens take the same expert."""

from dataclasses import dataclass

import torch
from torch import Tensor

LENGTH, STEP = 24, 12  # tokens of a passage, and from one to the next
SHORTEST = 8  # the end of a text may be shorter
SHOWN = 3  # passages per expert, from different texts


@dataclass(frozen=True)
class Passage:
    """row        of the batch, the window that it stands in
    start, end  its tokens
    taken       per token of it whether it takes the expert
    by_chance   the largest share of a passage where the tokens are mixed, 0 to 1
    """

    row: int
    start: int
    end: int
    taken: tuple[bool, ...]
    by_chance: float


def passages_of(experts: Tensor, real: Tensor, n_experts: int, seed: int) -> list[list[Passage]]:
    """experts (tokens, k), -1 for no choice, of the tokens that real (batch, sequence) marks -> up
    to SHOWN per expert, from different rows, the largest share first."""
    member = torch.zeros(len(experts), n_experts + 1, dtype=torch.bool)
    member.scatter_(1, torch.where(experts < 0, n_experts, experts), True)
    member = member[:, :n_experts]
    lengths = real.sum(1).tolist()
    spans = _spans(lengths)  # (passages, 3): row, first token of all, length
    if not len(spans):
        return [[] for _ in range(n_experts)]
    share = _shares(member, spans)
    generator = torch.Generator().manual_seed(seed)
    mixed = member[torch.randperm(len(member), generator=generator)]
    chance = _shares(mixed, spans).max(0).values
    begin = torch.tensor([0, *lengths]).cumsum(0)
    row_of = spans[:, 0]
    best = torch.zeros(len(lengths), n_experts).double()  # of each row
    best.scatter_reduce_(0, row_of[:, None].expand_as(share), share, "amax")
    top = best.topk(min(SHOWN, len(lengths)), dim=0)
    found = []
    for expert in range(n_experts):
        mine = []
        for value, row in zip(top.values[:, expert], top.indices[:, expert].tolist(), strict=True):
            if value > 0:
                here = ((row_of == row) & (share[:, expert] == value)).nonzero()[0, 0]
                first, length = spans[here, 1:].tolist()
                taken = tuple(member[first : first + length, expert].tolist())
                start = first - int(begin[row])
                mine.append(Passage(row, start, start + length, taken, float(chance[expert])))
        found.append(mine)
    return found


def _spans(lengths: list[int]) -> Tensor:
    found, first = [], 0
    for row, length in enumerate(lengths):
        for start in range(0, max(1, length - LENGTH + STEP), STEP):
            here = min(LENGTH, length - start)
            if here >= SHORTEST:
                found.append((row, first + start, here))
        first += length
    return torch.tensor(found, dtype=torch.long).view(-1, 3)


def _shares(member: Tensor, spans: Tensor) -> Tensor:
    """(passages, E) float64: share of each passage's tokens that take each expert."""
    total = torch.cat((torch.zeros(1, member.shape[1]), member.float().cumsum(0)))
    first, length = spans[:, 1], spans[:, 2]
    return (total[first + length] - total[first]).double() / length[:, None]
