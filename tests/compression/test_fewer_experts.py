"""Scores of experts, pruning and merging: against sums by hand, models by hand, all pairings."""

import pytest
import torch

from moe_lib import load_checkpoint, save_checkpoint, trace_routing
from moe_lib.compression import (
    MergedExperts,
    ablation_scores,
    best_experts,
    best_pairs,
    expert_distances,
    expert_scores,
    merge_experts,
    prune_experts,
    random_pairs,
    random_scores,
)
from moe_lib.compression.merging import merge_two
from moe_lib.model import Experts, Routing
from moe_lib.model.experts import swiglu
from moe_lib.tracing import experts_off
from tests.training.small import make_model

IDS = torch.randint(0, 20, (5, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)
MASK[1, 6:] = MASK[3, 3:] = 0


@pytest.fixture
def model():
    model = make_model(router="biased_topk", num_experts_per_tok=2).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        for layer in model.layers:
            layer.feed_forward.router.selection_bias.normal_(std=0.1)
    return model


def test_scores_are_the_sums_over_a_trace(model):
    scores, trace = expert_scores(model, IDS, MASK), trace_routing(model, IDS, MASK)
    for layer in trace.layers:
        real = MASK.bool()
        chosen, weights = layer.experts[real], layer.weights[real]
        usage = torch.bincount(chosen.flatten(), minlength=4)
        mass = torch.zeros(4).scatter_add(0, chosen.flatten(), weights.flatten())
        assert torch.equal(scores.usage[layer.index], usage.double())
        assert torch.allclose(scores.gate_mass[layer.index].float(), mass)


@torch.no_grad()
def test_reap_is_the_mean_of_weight_times_norm_over_the_tokens_that_chose_it(model):
    seen = {}
    experts = model.layers[1].feed_forward.experts
    handle = experts.register_forward_pre_hook(
        lambda _, args: seen.update(x=args[0], routing=args[1])
    )
    with torch.no_grad():
        model(IDS)
    handle.remove()
    x, routing = seen["x"], seen["routing"]
    for e in range(4):
        values = [
            float(weight)
            * float(swiglu(x[t : t + 1], experts.gate_up_proj[e], experts.down_proj[e]).norm())
            for t, (row, gates) in enumerate(zip(routing.experts, routing.weights, strict=True))
            for expert, weight in zip(row, gates, strict=True)
            if expert == e
        ]
        found = float(expert_scores(model, IDS).by("reap")[1][e])
        assert found == pytest.approx(sum(values) / max(1, len(values)), rel=1e-5)


def test_an_ablation_is_the_loss_without_the_expert_less_the_loss_with_it(model):
    def loss():
        with torch.no_grad():
            return float(model(IDS, labels=IDS).loss)

    before, scores = loss(), ablation_scores(model, IDS)
    with experts_off(model, {1: [2]}):
        assert loss() - before == pytest.approx(float(scores[1][2]), abs=1e-5)


def test_a_pruned_model_is_the_model_whose_other_experts_are_off(model, tmp_path):
    kept = {0: [0, 2, 3], 1: [1, 2, 3]}
    pruned = prune_experts(model, kept)
    with torch.no_grad(), experts_off(model, {0: [1], 1: [0]}):
        wanted = model(IDS).logits
        assert torch.allclose(pruned(IDS).logits, wanted, atol=1e-5)
    save_checkpoint(pruned, tmp_path / "pruned")
    again, _ = load_checkpoint(tmp_path / "pruned")
    assert torch.equal(again(IDS).logits, pruned(IDS).logits)
    assert again.config.n_routed_experts == 3 and model.config.n_routed_experts == 4


def test_all_experts_kept_in_another_order_change_nothing(model):
    pruned = prune_experts(model, {0: [3, 1, 0, 2], 1: [0, 1, 2, 3]})
    assert torch.allclose(pruned(IDS).logits, model(IDS).logits, atol=1e-5)


def test_the_best_are_kept_in_order_and_of_equal_ones_the_first():
    scores = {3: torch.tensor([0.1, 0.9, 0.5, 0.9])}
    assert best_experts(scores, 2) == {3: [1, 3]} and best_experts(scores, 3) == {3: [1, 2, 3]}
    assert best_experts({0: torch.ones(4)}, 2) == {0: [0, 1]}


def test_chance_depends_on_the_seed_alone(model):
    first, again, other = (random_scores(model, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    assert random_pairs(8, 0) == random_pairs(8, 0) != random_pairs(8, 3)
    assert sorted(e for pair in random_pairs(8, 5) for e in pair) == list(range(8))


def pairings(left):
    if not left:
        yield []
    for other in left[1:]:
        rest = [e for e in left if e not in (left[0], other)]
        yield from ([(left[0], other), *more] for more in pairings(rest))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_pairing_is_the_best_of_all_pairings(seed):
    distances = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed)).double()
    distances = (distances + distances.T).fill_diagonal_(0)
    every = list(pairings(list(range(8))))
    assert len(every) == 105
    best = min(every, key=lambda pairs: sum(float(distances[a, b]) for a, b in pairs))
    assert best_pairs(distances) == sorted(best)


def twins():
    """Four experts: 0 and 2, and 1 and 3, compute the same, with their neurons in another order."""
    torch.manual_seed(3)
    experts = Experts(4, 16, 8)
    order = torch.randperm(8)
    with torch.no_grad():
        for e in (0, 1):
            gate, up = experts.gate_up_proj[e].chunk(2)
            experts.gate_up_proj[e + 2] = torch.cat((gate[order], up[order]))
            experts.down_proj[e + 2] = experts.down_proj[e][:, order]
    return experts


def test_two_experts_that_compute_the_same_are_merged_into_it():
    experts, x = twins(), torch.randn(6, 16)
    merged = merge_two(experts, 0, 2, torch.tensor([1.0, 0, 5, 0]).double())
    wanted = swiglu(x, experts.gate_up_proj[0], experts.down_proj[0])
    assert torch.allclose(swiglu(x, *merged), wanted, atol=1e-6)
    plain = [(part[0] + part[2]) / 2 for part in (experts.gate_up_proj, experts.down_proj)]
    assert not torch.allclose(swiglu(x, *plain), wanted, atol=1e-2)  # without finding the order


@pytest.mark.parametrize("metric", ["output", "merged"])
def test_twins_find_each_other_and_merging_them_changes_nothing(model, metric):
    for layer in model.layers:
        layer.feed_forward.experts = twins()
    before = model(IDS).logits
    distances = expert_distances(model, metric, IDS)
    pairs = {layer: best_pairs(table) for layer, table in distances.items()}
    assert pairs == {0: [(0, 2), (1, 3)], 1: [(0, 2), (1, 3)]}
    usage = expert_scores(model, IDS).usage
    merged = merge_experts(model, pairs, usage)
    assert torch.allclose(merged(IDS).logits, before, atol=1e-5)
    assert merged.layers[0].feed_forward.experts.gate_up_proj.shape[0] == 2
    wrong = merge_experts(model, {0: [(0, 1), (2, 3)]}, usage)
    assert not torch.allclose(wrong(IDS).logits, before, atol=1e-3)


def test_the_distance_of_outputs_by_hand(model):
    seen = []
    experts = model.layers[0].feed_forward.experts
    handle = experts.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(IDS)
        handle.remove()
        a, b = (swiglu(seen[0], experts.gate_up_proj[e], experts.down_proj[e]) for e in (1, 3))
    wanted = (a - b).square().sum() / ((a.square().sum() + b.square().sum()) / 2)
    found = expert_distances(model, "output", IDS)[0]
    assert float(found[1, 3]) == pytest.approx(float(wanted), rel=1e-4)
    assert torch.equal(found, found.T) and float(found.diagonal().abs().max()) == 0


def test_a_token_whose_two_experts_are_one_gets_both_weights():
    torch.manual_seed(0)
    experts = MergedExperts(torch.randn(2, 16, 6), torch.randn(2, 6, 8), torch.tensor([0, 0, 1, 1]))
    x, weights = torch.randn(3, 6), torch.rand(3, 2)
    chosen = torch.tensor([[0, 1], [2, 3], [1, 2]])
    scores = torch.rand(3, 4)
    routing = Routing(chosen, weights, scores, scores, torch.ones(3, 2, dtype=torch.bool))
    each = torch.stack([swiglu(x, experts.gate_up_proj[e], experts.down_proj[e]) for e in (0, 1)])
    share = torch.stack((weights[0].sum() * each[0, 0], weights[1].sum() * each[1, 1]))
    found = experts(x, routing)
    assert torch.allclose(found[:2], share, atol=1e-5)
    assert torch.allclose(
        found[2], weights[2, 0] * each[0, 2] + weights[2, 1] * each[1, 2], atol=1e-5
    )


def test_a_merged_model_writes_the_same_with_and_without_a_cache_and_is_no_plain_checkpoint(
    model, tmp_path
):
    merged = merge_experts(model, {0: [(0, 1), (2, 3)]}, expert_scores(model, IDS).usage)
    cached, plain = (merged.generate(IDS[:1], 6, use_cache=use) for use in (True, False))
    assert torch.equal(cached, plain)
    with pytest.raises(ValueError, match="changed modules"):
        save_checkpoint(merged, tmp_path / "merged")
