"""Placements against every possible one, and against DeepSeek's own balancer (figures of its
`rebalance_experts`, without groups, on these loads)."""

from itertools import permutations

import pytest
import torch

from moe_lib.parallel.placement import (
    balanced_copies,
    busiest_over_mean,
    device_loads,
    devices_of_tokens,
    in_order,
    pack,
    replicate,
)

# Loads of 12 experts in two layers, the example in EPLB's README.
EXAMPLE = [
    [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
    [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
]
EPLB = [138.5, 172.0]  # largest load of 8 devices with 16 copies
OF = [
    [0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 10, 11],
    [0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10, 11],
]


def best_possible(load, devices):
    """The smallest largest load over all placements with equally many experts."""
    room, best = len(load) // devices, float("inf")
    for order in set(permutations([e // room for e in range(len(load))])):
        best = min(best, float(device_loads(load, torch.tensor(order)).max()))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_packing_is_near_the_best_and_never_worse_than_in_order(seed):
    load = torch.rand(8, generator=torch.Generator().manual_seed(seed)).exp() ** 3
    place = pack(load, 4)
    assert torch.bincount(place).tolist() == [2] * 4
    found = float(device_loads(load, place).max())
    assert best_possible(load, 4) <= found <= 1.15 * best_possible(load, 4)
    assert found <= float(device_loads(load, in_order(8, 4)).max()) + 1e-9


def test_replicas_go_to_the_hottest():
    load = torch.tensor([100, 10, 10, 10])
    of = replicate(load, 6)
    assert sorted(of.tolist()) == [0, 0, 0, 1, 2, 3]
    place, of = balanced_copies(load, 6, 3)
    loads = device_loads(load, place, of)
    assert loads.sum() == 130 and float(loads.max()) == pytest.approx(100 / 3 + 10)
    assert busiest_over_mean(loads) == pytest.approx(1.0)


@pytest.mark.parametrize("layer", [0, 1])
def test_as_even_as_deepseeks_balancer(layer):
    load = torch.tensor(EXAMPLE[layer])
    place, of = balanced_copies(load, 16, 8)
    assert float(device_loads(load, place, of).max()) == pytest.approx(EPLB[layer])
    assert sorted(of.tolist()) == OF[layer]


def test_tokens_and_their_devices():
    goes = devices_of_tokens(torch.tensor([[0, 1], [0, 3], [2, 3]]), in_order(4, 2))
    assert goes.tolist() == [[True, False], [True, True], [False, True]]
    swapped = devices_of_tokens(torch.tensor([[0, 3]]), torch.tensor([0, 1, 1, 0]))
    assert swapped.tolist() == [[True, False]]
