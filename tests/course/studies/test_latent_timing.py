"""Latent attention, timed: what is timed has the sizes it claims, and all ways take their turns."""

import pytest
import torch

from moe_course.studies.latent_timing import LatentCache, take_turns


def test_a_cache_has_the_shapes_of_its_sizes_and_is_the_same_every_time():
    cache = LatentCache.random(10, latent=6, heads=3, n=4, r=2, v=5)
    shapes = [tuple(part.shape) for part in vars(cache).values()]
    assert shapes == [(10, 6), (10, 2), (3, 4, 6), (3, 5, 6), (3, 6)]
    again = LatentCache.random(10, latent=6, heads=3, n=4, r=2, v=5)
    other = LatentCache.random(10, latent=6, heads=3, n=4, r=2, v=5, seed=1)
    assert torch.equal(cache.c, again.c) and not torch.equal(cache.c, other.c)
    large = LatentCache.random(500)
    keys = torch.einsum("sR,hnR->hsn", large.c, large.W_UK)
    assert keys.std() == pytest.approx(1, rel=0.05)  # as large as the queries


def test_ways_take_turns_and_the_first_round_does_not_count():
    calls = []

    def way(name):
        calls.append(name)
        return torch.zeros(1)

    table = take_turns({name: (way, name) for name in "ab"}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert table.shape == (3, 2) and list(table) == ["a", "b"] and (table >= 0).all(axis=None)
    with pytest.raises(ValueError, match="rounds"):
        take_turns({"a": (way, "a")}, rounds=0)
