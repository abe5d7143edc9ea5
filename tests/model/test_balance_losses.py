"""The other balance losses, on numbers worked out by hand and against plain loops."""

import math

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, Routing
from moe_lib.model import (
    communication_balance_loss,
    device_balance_loss,
    expert_balance_loss,
    importance_loss,
    load_loss,
    make_router,
    router_z_loss,
)
from moe_lib.model.balance import total_balance_loss


def routing_of(scores, k=1, chosen=None):
    scores = torch.as_tensor(scores, dtype=torch.float64)
    weights, experts = scores.topk(k, dim=-1)
    kept = torch.ones_like(experts, dtype=torch.bool) if chosen is None else chosen
    return Routing(experts, weights, scores, scores.log(), kept, chosen)


def test_device_loss_by_hand():
    """Two devices of two experts. Loads 2, 0, 1, 1 are uneven for experts and even for devices."""
    scores = [
        [0.4, 0.2, 0.3, 0.1],
        [0.5, 0.1, 0.2, 0.2],
        [0.1, 0.2, 0.6, 0.1],
        [0.2, 0.1, 0.3, 0.4],
    ]
    routing = routing_of(scores)
    assert routing.load().tolist() == [2, 0, 1, 1]
    # f = 2, 0, 1, 1; P = 0.3, 0.15, 0.35, 0.2; f' = 1, 1; P' = 0.45, 0.55
    assert float(expert_balance_loss(routing)) == pytest.approx(2 * 0.3 + 0.35 + 0.2)
    assert float(device_balance_loss(routing, 2)) == pytest.approx(1 * 0.45 + 1 * 0.55)


def test_device_loss_is_the_expert_loss_when_every_expert_has_its_device():
    torch.manual_seed(0)
    routing = routing_of(torch.randn(12, 6, dtype=torch.float64).softmax(-1), 2)
    assert float(device_balance_loss(routing, 6, 3)) == pytest.approx(
        float(expert_balance_loss(routing, 3))
    )


def test_communication_loss_by_hand():
    """Three devices of two experts, k = 2, at most M = 2 devices per token."""
    scores = [
        [0.4, 0.3, 0.1, 0.1, 0.05, 0.05],
        [0.3, 0.1, 0.4, 0.1, 0.05, 0.05],
        [0.1, 0.05, 0.4, 0.05, 0.3, 0.1],
    ]
    routing = routing_of(scores, 2)
    # tokens go to devices {0}, {0, 1}, {1, 2}: received 2, 2, 1; f'' = 3 / (2 · 3) · received = 1,
    # 1, 0.5 P' = mean of 0.7, 0.4, 0.15; of 0.2, 0.5, 0.45; of 0.1, 0.1, 0.4
    expected = 1 * 1.25 / 3 + 1 * 1.15 / 3 + 0.5 * 0.6 / 3
    assert float(communication_balance_loss(routing, 3, 2)) == pytest.approx(expected)


@pytest.mark.parametrize("sequences", [1, 4])
def test_communication_loss_equals_loops(sequences):
    torch.manual_seed(0)
    routing, length, devices, most = (
        routing_of(torch.randn(24, 8).double().softmax(-1), 3),
        24 // sequences,
        4,
        2,
    )
    losses = []
    for s in range(sequences):
        tokens, loss = range(s * length, (s + 1) * length), 0.0
        for d in range(devices):
            sent = sum(any(e // 2 == d for e in routing.experts[t].tolist()) for t in tokens)
            affinity = (
                sum(float(routing.scores[t, 2 * d : 2 * d + 2].sum()) for t in tokens) / length
            )
            loss += devices / (most * length) * sent * affinity
        losses.append(loss)
    expected = sum(losses) / sequences
    assert float(communication_balance_loss(routing, devices, most, sequences)) == pytest.approx(
        expected
    )


def test_sigmoid_scores_are_normalised_first():
    """DeepSeek-V3 equation 19: doubling all scores of a token changes nothing."""
    torch.manual_seed(0)
    scores = torch.randn(10, 4).double().sigmoid()
    once, twice = routing_of(scores, 2), routing_of(scores * 2, 2)
    assert float(expert_balance_loss(once)) == pytest.approx(float(expert_balance_loss(twice)))
    assert float(expert_balance_loss(routing_of(torch.full((6, 4), 0.9), 2))) == pytest.approx(1.0)


def test_choices_that_were_not_made_are_not_counted():
    """GShard's second expert, when the draw leaves it out."""
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]])
    chosen = torch.tensor([[True, False], [True, True]])
    routing = routing_of(scores, 2, chosen)
    assert routing.load().tolist() == [1, 1, 1]
    assert float(expert_balance_loss(routing)) == pytest.approx(1.0)


def test_z_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [7.0, 7.0]])
    ones = torch.ones(3, 1, dtype=torch.bool)
    routing = Routing(
        torch.zeros(3, 1, dtype=torch.long), torch.ones(3, 1), logits.softmax(-1), logits, ones
    )
    expected = [math.log(2) ** 2, math.log(4) ** 2, (7 + math.log(2)) ** 2]
    assert float(router_z_loss(routing)) == pytest.approx(sum(expected) / 3)
    assert float(router_z_loss(routing, torch.tensor([True, True, False]))) == pytest.approx(
        sum(expected[:2]) / 2
    )


def noisy(k=2, tokens=40, n_experts=5):
    torch.manual_seed(0)
    router = make_router("noisy_topk", 6, n_experts, k).double().train()
    for parameter in router.parameters():
        torch.nn.init.normal_(parameter)
    return router, torch.randn(tokens, 6, dtype=torch.float64)


def test_importance_loss_is_the_squared_variation():
    router, x = noisy()
    routing = router(x)
    importance = routing.scores.detach().sum(0)
    expected = (importance.std(unbiased=False) / importance.mean()) ** 2
    assert float(importance_loss(routing).detach()) == pytest.approx(float(expected))


def test_smooth_load_is_the_probability_over_fresh_noise():
    """Shazeer's P(x, i), against drawing the noise of one expert anew 40,000 times."""
    router, x = noisy(tokens=3)
    routing = router(x)
    drawn = torch.zeros(3, 5, dtype=torch.float64)
    for expert in range(5):
        noise = torch.randn(40_000, 3, dtype=torch.float64)
        logits = routing.logits.expand(40_000, 3, 5).clone()
        logits[..., expert] = routing.clean_logits[:, expert] + noise * routing.noise_std[:, expert]
        drawn[:, expert] = (logits.topk(2, dim=-1).indices == expert).any(-1).double().mean(0)
    load = drawn.sum(0)
    expected = (load.std(unbiased=False) / load.mean()) ** 2
    assert float(load_loss(routing).detach()) == pytest.approx(float(expected), rel=0.03)


def test_load_loss_has_a_gradient_where_a_count_has_none():
    router, x = noisy()
    load_loss(router(x)).backward()
    assert router.weight.grad.abs().max() > 1e-4 and router.noise_weight.grad.abs().max() > 1e-6


def test_only_a_noisy_router_has_shazeers_losses():
    plain = routing_of(torch.full((4, 4), 0.25))
    for loss in (importance_loss, load_loss):
        with pytest.raises(TypeError, match="routing: got 'Routing'; wants the NoisyRouting"):
            loss(plain)


def test_bad_devices_are_named():
    routing = routing_of(torch.full((4, 6), 1 / 6))
    with pytest.raises(ValueError, match="n_devices: got 4; wants a divisor"):
        device_balance_loss(routing, 4)
    with pytest.raises(ValueError, match="max_devices: got 3; wants at most n_devices"):
        communication_balance_loss(routing, 2, 3)


FACTORS = dict(
    aux_loss_alpha=0.003,
    device_loss_alpha=0.05,
    communication_loss_alpha=0.02,
    router_z_loss_alpha=0.001,
)


@pytest.mark.parametrize("seq_aux", [True, False])
def test_the_model_adds_every_loss_with_its_factor_layer_by_layer(seq_aux):
    """DeepSeek-V2's three losses and the z-loss, over two layers; none of it in the language-model
    loss."""
    torch.manual_seed(0)
    config = ModelConfig.preset(
        "tiny",
        vocab_size=40,
        router="group_limited",
        n_group=4,
        topk_group=2,
        seq_aux=seq_aux,
        initializer_range=0.3,
        **FACTORS,
    )
    model, ids = LanguageModel(config), torch.randint(0, 40, (3, 10))
    output = model(ids, labels=ids)
    n = 3 if seq_aux else 1
    expected = sum(
        0.003 * expert_balance_loss(r, n)
        + 0.05 * device_balance_loss(r, 4, n)
        + 0.02 * communication_balance_loss(r, 4, 2, n)
        + 0.001 * router_z_loss(r)
        for r in output.routing
    )
    assert output.balance_loss.item() == pytest.approx(expected.item(), rel=1e-5) and expected > 0.1
    logits = output.logits[:, :-1].flatten(0, 1)
    assert output.loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).item(), rel=1e-5
    )
    assert (
        float(total_balance_loss(output.routing, config.replace(**dict.fromkeys(FACTORS, 0.0)), n))
        == 0
    )


def test_balance_losses_reach_the_routers():
    """Computed, returned, and part of the gradient of training: one that is logged and not added
    teaches nothing."""
    torch.manual_seed(0)
    for name in FACTORS:
        others = {**dict.fromkeys(FACTORS, 0.0), name: 1.0}
        config = ModelConfig.preset(
            "tiny",
            vocab_size=40,
            router="group_limited",
            n_group=4,
            topk_group=2,
            initializer_range=0.3,
            **others,
        )
        model = LanguageModel(config)
        model(torch.randint(0, 40, (2, 12))).balance_loss.backward()
        assert all(
            layer.feed_forward.router.weight.grad.abs().max() > 1e-6 for layer in model.layers
        ), name
