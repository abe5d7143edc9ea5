"""Pairs of experts by hand and by loop; the mixed control keeps loads and k and loses planted
partners."""

import pytest
import torch

from moe_lib.tracing.analysis.coactivation import (
    coactivation,
    expected_coactivation,
    shuffle_partners,
)
from tests.tracing.analysis.small_traces import HAND, make_trace


def test_pairs_by_hand():
    # tokens {0,1} {0,2} {0,1} {0,3} {2,3}: expert 0 four times, 1 two, 2 two, 3 two
    found = coactivation(HAND, 1)
    assert torch.allclose(
        found,
        torch.tensor(
            [[1, 1 / 2, 1 / 4, 1 / 4], [1, 1, 0, 0], [1 / 2, 0, 1, 1 / 2], [1 / 2, 0, 1 / 2, 1]]
        ).double(),
    )
    assert (found.sum(1) - 1).tolist() == pytest.approx([1, 1, 1, 1])  # k - 1


def test_all_pairs_of_three_count_and_an_unused_expert_has_an_empty_row():
    found = coactivation(make_trace([[[2, 0, 1], [1, 3, 0]]], n_experts=5), 1)
    assert found[0].tolist() == [1, 1, 0.5, 0.5, 0] and found[4].tolist() == [0] * 5


def random_sets(tokens, n_experts, k, seed=0):
    g = torch.Generator().manual_seed(seed)
    popular = torch.linspace(1, 4, n_experts)
    return torch.multinomial(popular.expand(tokens, -1), k, generator=g)[None]  # (1, tokens, k)


@pytest.mark.parametrize("k", [2, 4])
def test_mixing_keeps_every_load_and_k_different_experts(k):
    real = torch.rand(1, 300, generator=torch.Generator().manual_seed(3)) < 0.7
    trace = make_trace(random_sets(300, 8, k), real=real, n_experts=8)
    mixed = shuffle_partners(trace, seed=1)
    assert torch.equal(mixed.load(1), trace.load(1))
    sets = mixed.layers[0].experts[real].sort(-1).values
    assert bool((sets[:, 1:] != sets[:, :-1]).all())
    assert torch.equal(mixed.layers[0].experts[~real], trace.layers[0].experts[~real])
    assert not torch.equal(sets, trace.layers[0].experts[real].sort(-1).values)


def test_expected_pairs_of_two_equal_quasi_independence():
    """For k = 2 the loads fix the expectation: q_ij = a_i a_j off the diagonal, fitted to the rows
    by iteration."""
    trace = make_trace(random_sets(4000, 6, 2), n_experts=6)
    load, a = trace.load(1).double(), torch.ones(6, dtype=torch.double)
    for _ in range(500):
        a = (a * load / (a * (a.sum() - a))).sqrt() * a.sqrt()
    wanted = a[:, None] * a / load[:, None]
    mean, spread = expected_coactivation(trace, 1, shuffles=8)
    away = ~torch.eye(6, dtype=torch.bool)
    assert torch.allclose(mean[away], wanted[away], atol=0.02) and bool((spread[away] < 0.03).all())


def test_planted_partners_stand_out_of_the_mixture():
    experts = torch.tensor([[0, 1], [2, 3], [4, 5]]).repeat(200, 1)[None]
    trace = make_trace(experts, n_experts=6)
    mean, spread = expected_coactivation(trace, 1)
    assert coactivation(trace, 1)[0, 1] == 1
    assert mean[0, 1] + 5 * spread[0, 1] < 0.5  # 1/5 if partners are random


def test_bad_input_is_named():
    chosen = torch.tensor([[[True, False], [True, True]]])
    with pytest.raises(ValueError, match="trace"):
        shuffle_partners(make_trace([[[0, 1], [2, 3]]], chosen=chosen))
    with pytest.raises(ValueError, match="index"):
        coactivation(HAND, 2)
