"""Overlap of expert sets by hand, its chance level against shuffles, and on real checkpoints of a
training."""

import pytest
import torch

from moe_lib.tracing.analysis.saturation import saturation, saturation_by_chance, stack_experts
from tests.tracing.analysis.small_traces import HAND, make_trace


def test_overlap_by_hand_ignores_the_order():
    experts = torch.tensor(
        [[[[0, 1], [2, 3]]], [[[1, 4], [5, 4]]], [[[1, 0], [2, 5]]]]
    )  # (3, 1, 2, 2)
    assert saturation(experts).tolist() == [[0.75], [0.5], [1]]
    assert saturation(experts, final=0).tolist() == [[1], [0.25], [0.75]]


def test_chance_is_the_mean_over_shuffled_tokens():
    g = torch.Generator().manual_seed(0)
    popular = torch.tensor([8.0, 4, 2, 1, 1, 1])
    experts = torch.multinomial(popular.expand(2 * 2 * 500, -1), 3, generator=g).view(2, 2, 500, 3)
    shuffled = []
    for _ in range(200):
        mixed = experts.clone()
        mixed[1] = mixed[1][:, torch.randperm(500, generator=g)]
        shuffled.append(saturation(mixed)[0])
    assert torch.allclose(
        saturation_by_chance(experts)[0], torch.stack(shuffled).mean(0), atol=0.01
    )


def test_chance_of_even_loads_is_k_over_e():
    experts = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]])[None, None].repeat(2, 1, 1, 1)
    assert saturation_by_chance(experts).tolist() == [[0.25], [0.25]]  # 2 of 8


def test_traces_are_stacked_without_their_padding():
    stacked = stack_experts([HAND, HAND])
    assert stacked.shape == (2, 1, 5, 2) and stacked[0, 0].tolist() == [
        [0, 1],
        [0, 2],
        [1, 0],
        [3, 0],
        [3, 2],
    ]
    assert saturation(stacked).tolist() == [[1], [1]]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="experts"):
        saturation(torch.zeros(3, 4, 2, dtype=torch.long))
    other = make_trace(HAND.layers[0].experts, ids=HAND.input_ids + 1, real=HAND.real)
    with pytest.raises(ValueError, match="same tokens"):
        stack_experts([HAND, other])
    with pytest.raises(ValueError, match="layers of the first"):
        stack_experts(
            [HAND, make_trace(HAND.layers[0].experts, ids=HAND.input_ids, real=HAND.real, index=2)]
        )
    with pytest.raises(ValueError, match="none"):
        stack_experts([])
