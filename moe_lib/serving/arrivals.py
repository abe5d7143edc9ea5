"""Who comes when, with how long a text: a Poisson process of requests, drawn from a seed."""

import math
from dataclasses import dataclass

import torch

from moe_lib.errors import require
from moe_lib.serving.requests import Request
from moe_lib.validation import Count, NonNegative, Positive, Seed, checked

Range = tuple[int, int]


@dataclass(frozen=True)
class Arrival:
    """A request, and the time at which it comes, in the unit of the simulation's clock."""

    time: float
    request: Request


@checked
def poisson_arrivals(
    number: Count,
    rate: Positive,
    *,
    vocab_size: Count,
    prompt_tokens: Range = (4, 32),
    new_tokens: Range = (4, 64),
    temperature: NonNegative = 0.0,
    seed: Seed = 0,
) -> list[Arrival]:
    """`number` requests, on average `rate` of them in a unit of time: the gaps are independent and
    exponential.

    vocab_size                 prompts are random ids below it
    prompt_tokens, new_tokens  (smallest, largest) length; logarithms are uniform between, so that
                               most are short and a few are long
    temperature                of all; each request has a seed of its own

    ValueError or TypeError for ranges that are not 1 <= smallest <= largest.
    """
    for name, (low, high) in {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens}.items():
        require(1 <= low <= high, name, (low, high), "(smallest, largest), from 1 on")
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.empty(number, dtype=torch.float64).exponential_(rate, generator=generator)
    arrivals = []
    for place, time in enumerate(gaps.cumsum(0).tolist()):
        prompt = torch.randint(
            vocab_size, (_length(prompt_tokens, generator),), generator=generator
        )
        new = _length(new_tokens, generator)
        how = dict(temperature=temperature, seed=place)
        arrivals.append(Arrival(time, Request(prompt.tolist(), new, **how)))
    return arrivals


def _length(ends: Range, generator: torch.Generator) -> int:
    low, high = math.log(ends[0]), math.log(ends[1] + 1)
    drawn = float(torch.rand((), generator=generator, dtype=torch.float64))
    return min(ends[1], int(math.exp(low + drawn * (high - low))))
