"""How long an exchange takes here: medians over repetitions, of all ranks together."""

import statistics
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from moe_lib.errors import require
from moe_lib.parallel.collectives import total
from moe_lib.parallel.exchange import exchange
from moe_lib.parallel.ranks import here
from moe_lib.validation import Count, checked


@checked
def measure_exchanges(sizes: Sequence[Count], repeats: Count = 7) -> list[float]:
    """Seconds of an all-to-all in which every rank sends that many bytes to all other ranks
    together: the median over `repeats`, averaged over the ranks. Every rank has to call it.

    sizes    bytes, rounded up to a number for every other rank
    ValueError for a process that is alone.
    """
    ranks = here()
    require(ranks.several, "ranks", ranks.size, "2 or more, joined")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return [_median(size, repeats, ranks.size, ranks.rank, device) for size in sizes]


def _median(size: int, repeats: int, ranks: int, own: int, device: torch.device) -> float:
    each = -(-size // (4 * (ranks - 1)))  # numbers for each other rank
    split = [0 if rank == own else each for rank in range(ranks)]
    rows, taken = torch.zeros(sum(split), device=device), []
    for _ in range(repeats + 1):
        dist.barrier()
        before = time.perf_counter()
        exchange(rows, split, split, "measured")
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - before)
    median = statistics.median(taken[1:])  # the first one connects
    return float(total(torch.tensor(median, dtype=torch.float64))) / ranks
