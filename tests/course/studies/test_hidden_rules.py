"""The puzzle of hidden rules: what a token and its answer are, what the kinds of layer are, and
that only a router that learns gets far."""

import pytest
import torch

from moe_course.studies import hidden_rules as study
from moe_lib.model import MoELayer


def test_the_signs_along_two_hidden_directions_choose_the_matrix():
    puzzle = study.HiddenRules(seed=3)
    torch.testing.assert_close(puzzle.plane @ puzzle.plane.T, torch.eye(2))
    x, y, rule = puzzle.sample(200, seed=1)
    for token, answer, number in zip(x, y, rule.tolist(), strict=True):
        along = puzzle.plane @ token
        assert number == 2 * int(along[0] > 0) + int(along[1] > 0)
        torch.testing.assert_close(answer, puzzle.rules[number] @ token)
    assert (torch.bincount(rule, minlength=4) > 25).all()
    torch.testing.assert_close(puzzle.on_plane(x)[0], puzzle.plane @ x[0])


def test_tokens_depend_on_both_seeds_and_on_nothing_else():
    first = study.HiddenRules(1).sample(20, 5)
    torch.rand(7)
    assert all(map(torch.equal, first, study.HiddenRules(1).sample(20, 5)))
    for puzzle, seed in ((1, 6), (2, 5)):
        assert not torch.equal(first[0], study.HiddenRules(puzzle).sample(20, seed)[0])
    with pytest.raises(ValueError, match="seed: got -1"):
        study.HiddenRules(-1)


def test_linear_experts_are_a_weighted_sum_of_matrix_products():
    layer = study.make_layer("learned", seed=1)
    x = torch.randn(5, study.WIDTH)
    output, routing = layer(x)
    for t in range(5):
        pairs = zip(routing.weights[t], routing.experts[t], strict=True)
        want = sum(weight * layer.experts.weight[expert] @ x[t] for weight, expert in pairs)
        torch.testing.assert_close(output[t], want)


def test_error_is_one_for_silence_and_nearly_zero_for_the_rules_themselves():
    puzzle, layer = study.HiddenRules(4), study.make_layer("learned")
    with torch.no_grad():
        layer.experts.weight.zero_()
    assert study.error(layer, puzzle) == pytest.approx(1)
    with torch.no_grad():
        first, second = puzzle.plane
        corners = torch.stack([-first - second, -first + second, first - second, first + second])
        layer.router.weight.copy_(1e6 * torch.cat([corners, torch.zeros(4, study.WIDTH)]))
        layer.experts.weight[:4] = puzzle.rules
    assert study.error(layer, puzzle) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_one_matrix_for_all_explains_about_a_quarter(seed):
    """Four rules that have nothing to do with each other; their mean is nearly the best matrix."""
    x, y, _ = study.HiddenRules(seed).sample(20_000, 1)
    best = torch.linalg.lstsq(x, y).solution
    left = ((x @ best - y).square().mean() / y.square().mean()).item()
    assert 0.68 < left < 0.8


def test_purity_by_hand():
    rule, expert = torch.tensor([0, 0, 1, 1, 3]), torch.tensor([5, 5, 5, 2, 2])
    assert study.purity(rule, expert) == pytest.approx((2 + 1) / 5)
    assert study.purity(rule, rule + 4) == 1
    assert study.purity(rule, torch.zeros(5, dtype=torch.long)) == pytest.approx(2 / 5)


def test_the_four_kinds_differ_in_what_chooses():
    active = study.CHOSEN * study.WIDTH**2 + study.EXPERTS * study.WIDTH
    dense = sum(weight.numel() for weight in study.make_layer("dense").parameters())
    assert abs(dense / active - 1) < 0.05
    x = study.HiddenRules(0).sample(300, 0)[0]
    lot = study.make_layer("lot")
    assert not torch.equal(lot(x)[1].experts, lot(x)[1].experts)
    for kind, moves in (("learned", True), ("frozen", False)):
        layer = study.make_layer(kind)
        assert isinstance(layer, MoELayer)
        before = layer.router.weight.detach().clone()
        study.learn(layer, study.HiddenRules(0), steps=3)
        assert torch.equal(before, layer.router.weight) is not moves
    with pytest.raises(ValueError, match="kind: got 'hash'"):
        study.make_layer("hash")


def test_the_same_seed_gives_the_same_training():
    one, two = (
        study.learn(study.make_layer("learned", 2), study.HiddenRules(2), steps=5) for _ in range(2)
    )
    assert one == two


def test_a_router_that_learns_leaves_a_frozen_one_behind():
    puzzle, seen = study.HiddenRules(1), []
    layers = {kind: study.make_layer(kind, 1) for kind in ("learned", "frozen")}
    for layer in layers.values():
        watch = dict(watch=lambda step, layer: seen.append(step), watch_at=(0, 150))
        study.learn(layer, puzzle, steps=150, **watch)
    assert seen == [0, 150, 0, 150]
    errors = {kind: study.error(layer, puzzle) for kind, layer in layers.items()}
    assert errors["learned"] < 0.3 and errors["frozen"] > errors["learned"] + 0.2
