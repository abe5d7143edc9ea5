"""The balance loss and the load numbers, on values worked out by hand and against a plain loop."""

import math

import pytest
import torch

from moe_lib import MoELayer, Routing
from moe_lib.training import expert_balance_loss, load_entropy, max_violation


def routing_of(scores, k=1):
    scores = torch.as_tensor(scores, dtype=torch.float64)
    weights, experts = scores.topk(k, dim=-1)
    return Routing(
        experts, weights, scores, scores.log(), torch.ones_like(experts, dtype=torch.bool)
    )


def naive(routing, sequences):
    """f_i = E/(kT) count_i, P_i = mean score_i, per sequence, with loops."""
    experts, scores = routing.experts.tolist(), routing.scores.tolist()
    n_experts, k, length = len(scores[0]), len(experts[0]), len(scores) // sequences
    losses = []
    for s in range(sequences):
        rows = range(s * length, (s + 1) * length)
        losses.append(
            sum(
                n_experts
                / (k * length)
                * sum(experts[t].count(i) for t in rows)
                * sum(scores[t][i] for t in rows)
                / length
                for i in range(n_experts)
            )
        )
    return sum(losses) / sequences


@pytest.mark.parametrize(("sequences", "k"), [(1, 1), (1, 3), (4, 2), (8, 1)])
def test_equals_the_formula_in_loops(sequences, k):
    torch.manual_seed(0)
    routing = routing_of(torch.randn(24, 5, dtype=torch.float64).softmax(-1), k)
    assert float(expert_balance_loss(routing, sequences)) == pytest.approx(
        naive(routing, sequences), abs=1e-12
    )


def test_one_is_not_a_lower_bound():
    """Load 2:1, yet the loss is 0.896 (FACTS A3)."""
    routing = routing_of([[0.51, 0.49], [0.51, 0.49], [0.01, 0.99]])
    assert routing.load().tolist() == [2, 1]
    assert float(expert_balance_loss(routing)) == pytest.approx(0.8955555, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_even_scores_give_one_whatever_k(k):
    """The same alpha must mean the same for every k: f is divided by k."""
    assert float(expert_balance_loss(routing_of(torch.full((6, 4), 0.25), k))) == pytest.approx(1.0)


def test_collapse_gives_the_number_of_experts():
    assert float(expert_balance_loss(routing_of([[1.0, 0, 0, 0]] * 5))) == pytest.approx(4.0)


def test_layers_are_not_pooled():
    """Four layers, each collapsed onto another expert, look even if their counts are added up."""
    layers = [routing_of(torch.eye(4)[[expert] * 8]) for expert in range(4)]
    assert sum(float(expert_balance_loss(layer)) for layer in layers) / 4 == pytest.approx(4.0)
    pooled = sum(layer.load() for layer in layers)
    assert max_violation(pooled) == 0 and all(max_violation(layer.load()) == 3 for layer in layers)


def test_padding_is_left_out():
    torch.manual_seed(0)
    scores = torch.randn(12, 5).softmax(-1)
    mask = torch.tensor([True] * 4 + [False] * 2 + [True] * 3 + [False] * 3)
    short = [routing_of(scores[:4], 2), routing_of(scores[6:9], 2)]
    expected = sum(float(expert_balance_loss(part)) for part in short) / 2
    assert float(expert_balance_loss(routing_of(scores, 2), 2, mask)) == pytest.approx(expected)
    assert routing_of(scores, 2).load(mask).sum() == 14


def test_gradient_flows_through_the_scores_only():
    torch.manual_seed(0)
    logits = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    routing = routing_of(logits.softmax(-1))
    expert_balance_loss(routing).backward()
    f = routing.load() * 4 / 10
    by_hand = logits.detach().clone().requires_grad_()
    (f * by_hand.softmax(-1).mean(0)).sum().backward()
    assert torch.allclose(logits.grad, by_hand.grad) and logits.grad.abs().max() > 0


def test_max_violation_and_entropy_by_hand():
    assert max_violation(torch.tensor([4, 2, 1, 1])) == pytest.approx(1.0)
    assert max_violation(torch.tensor([3, 3])) == 0 and max_violation(torch.tensor([0, 0])) == 0
    assert load_entropy(torch.tensor([5, 5, 5])) == pytest.approx(1.0)
    assert load_entropy(torch.tensor([1, 3])) == pytest.approx(
        -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    )
    assert load_entropy(torch.tensor([7, 0, 0])) == 0


def router_gradient(k, normalise):
    torch.manual_seed(0)
    layer = MoELayer(8, 8, 4, k)
    layer.router.norm_topk_prob = normalise  # past the constructor, which refuses the bad pair
    x = torch.randn(64, 8)
    layer(x)[0].square().sum().backward()
    return layer.router.weight.grad.abs().max().item()


def test_top_1_with_a_renormalised_weight_teaches_the_router_nothing():
    """Normalised over k = 1 a weight is always 1. The raw weight does teach the router, which is
    why Switch keeps it."""
    assert router_gradient(1, True) < 1e-5 < 1e-3 < router_gradient(1, False)
    assert router_gradient(2, True) > 1e-3


def test_bad_arguments_are_named():
    routing = routing_of(torch.full((6, 4), 0.25))
    with pytest.raises(ValueError, match="n_sequences: got 4; wants a divisor"):
        expert_balance_loss(routing, 4)
    with pytest.raises(ValueError, match="mask: got"):
        expert_balance_loss(routing, 1, torch.ones(5))
