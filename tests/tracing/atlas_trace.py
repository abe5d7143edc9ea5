"""A made-up routing of known habits, for the tests of the atlas."""

import torch

from moe_lib import RoutingTrace
from moe_lib.tracing.atlas import ReadTexts, Window


def made_up(n_layers=2, n_experts=8, k=2, windows=60, length=40, seed=0) -> ReadTexts:
    """Words 0 to 19; expert 0 takes word 3 and expert 1 all of domain "odd"; the rest is chance."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 20, (windows, length), generator=generator)
    domains = ["even" if row % 2 == 0 else "odd" for row in range(windows)]
    order = torch.rand(windows, length, n_layers, n_experts - 2, generator=generator)
    experts = 2 + order.argsort(-1)[..., :k]  # never 0 or 1
    experts[ids == 3, :, 0] = 0
    experts[1::2, :, :, 1] = 1
    trace = RoutingTrace.from_arrays(list(experts), list(ids), n_experts=n_experts, domains=domains)
    made = tuple(
        Window(tuple(row.tolist()), tuple(f" w{word}" for word in row.tolist()), domain, number)
        for number, (row, domain) in enumerate(zip(ids, domains, strict=True))
    )
    return ReadTexts(trace, made)
