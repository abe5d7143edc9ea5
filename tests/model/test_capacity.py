"""Capacity limits, worked out by hand and against loops; never in eval mode, never zero."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, MoELayer, Routing
from moe_lib.model import make_router
from moe_lib.model.routers.capacity import capacity, limit_devices, limit_experts


def routing_of(experts, scores=None, n_experts=4, chosen=None):
    experts = torch.tensor(experts)
    scores = torch.full((len(experts), n_experts), 0.25) if scores is None else torch.tensor(scores)
    weights = scores.gather(1, experts)
    kept = torch.ones_like(experts, dtype=torch.bool) if chosen is None else torch.tensor(chosen)
    return Routing(experts, weights, scores, scores.log(), kept, None if chosen is None else kept)


def test_capacity_rounds_up_and_is_never_zero():
    """Rounded down, 1 · 2 / 64 · 1.0 is 0, and the one token of a generation step would lose all
    its experts."""
    assert capacity(1 * 2, 64, 1.0) == 1
    assert (
        capacity(8 * 2, 4, 1.0) == 4 and capacity(8 * 2, 4, 1.1) == 5 and capacity(8, 4, 0.01) == 1
    )


def test_first_choices_are_seated_before_second_ones():
    """Expert 0 is wanted by all four tokens and has room for two."""
    routing = limit_experts(
        routing_of([[1, 0], [0, 1], [0, 2], [0, 3]]), 0.8
    )  # ceil(0.8 · 8 / 4) = 2
    assert routing.kept.tolist() == [[True, False], [True, True], [True, True], [False, True]]
    assert routing.load().tolist() == [4, 2, 1, 1] and routing.kept_load().tolist() == [2, 2, 1, 1]
    assert routing.dropped_share() == pytest.approx(2 / 8)


def test_expert_limit_equals_a_loop():
    torch.manual_seed(0)
    scores = torch.randn(50, 6).softmax(-1)
    experts = scores.topk(3, dim=-1).indices
    chosen = torch.rand(50, 3) > 0.2
    mask = torch.rand(50) > 0.3
    before = routing_of(experts.tolist(), scores.tolist(), 6, chosen.tolist())
    routing = limit_experts(before, 0.7, mask)
    counted = chosen & mask[:, None]
    room = -(-int(counted.sum()) * 7 // 60)
    seats, expected = [0] * 6, chosen.clone()
    for rank in range(3):
        for token in range(50):
            expert = int(experts[token, rank])
            if counted[token, rank]:
                expected[token, rank] = seats[expert] < room
                seats[expert] += 1
    assert torch.equal(routing.kept, expected)
    assert 0 < routing.dropped_share(mask) < 0.6


def test_lowest_affinity_is_dropped_on_a_full_device():
    scores = [
        [0.4, 0.1, 0.3, 0.2],
        [0.5, 0.2, 0.2, 0.1],
        [0.3, 0.1, 0.4, 0.2],
        [0.1, 0.6, 0.2, 0.1],
    ]
    experts = [[0], [0], [2], [1]]  # device 0 holds experts 0 and 1: three tokens, room for two
    routing = limit_devices(routing_of(experts, scores), 1.0, n_devices=2)
    assert routing.kept[:, 0].tolist() == [False, True, True, True]  # affinities 0.4, 0.5 and 0.6
    protected = torch.tensor([True, False, False, False])
    saved = limit_devices(routing_of(experts, scores), 1.0, 2, protected=protected)
    assert saved.kept[:, 0].tolist() == [True, False, True, True], (
        "a protected token is seated first"
    )
    everybody = limit_devices(
        routing_of(experts, scores), 1.0, 2, protected=torch.ones(4, dtype=torch.bool)
    )
    assert everybody.kept.all(), "protected tokens are never dropped, even beyond the room"


@pytest.mark.parametrize("per", ["expert", "device"])
def test_nothing_is_dropped_in_eval_mode(per):
    router = make_router("topk", 8, 8, 2, capacity_factor=0.5, capacity_per=per, n_group=4)
    x = torch.randn(64, 8)
    assert router.train()(x).dropped_share() > 0.3
    assert router.eval()(x).kept.all()


def test_a_dropped_token_passes_by():
    """Dropped everywhere: the layer adds nothing but the shared expert."""
    torch.manual_seed(0)
    layer = MoELayer(8, 8, 4, 1, n_shared_experts=1, router="switch", capacity_factor=0.25).train()
    x = torch.randn(40, 8)
    output, routing = layer(x)
    dropped = ~routing.kept[:, 0]
    assert dropped.any() and routing.kept.any()
    assert torch.allclose(output[dropped], layer.shared(x)[dropped])
    assert not torch.allclose(output[~dropped], layer.shared(x)[~dropped])


def test_padding_takes_no_room():
    router = make_router("switch", 8, 4, 1, capacity_factor=1.0).train()
    torch.manual_seed(0)
    x, padding = torch.randn(20, 8), torch.zeros(200, 8)
    mask = torch.cat((torch.zeros(200), torch.ones(20))).bool()
    alone = router(x).kept
    behind_padding = router(torch.cat((padding, x)), mask=mask).kept[200:]
    assert torch.equal(alone, behind_padding) and not alone.all()


def test_generation_with_capacity_is_the_same_with_and_without_cache():
    """A capacity that depends on the length must not reach generation."""
    torch.manual_seed(0)
    config = ModelConfig.preset(
        "tiny", vocab_size=50, router="gshard", capacity_factor=0.5, initializer_range=0.3
    )
    model = LanguageModel(config)
    prompt = torch.randint(0, 50, (2, 5))
    cached = model.generate(prompt, 12)
    assert torch.equal(cached, model.generate(prompt, 12, use_cache=False))
    model.train()
    dropped = model(prompt.repeat(1, 8)).routing[0].dropped_share()
    assert dropped > 0.2, "in training the same capacity does drop"


def test_never_drop_share_protects_whole_sequences():
    torch.manual_seed(0)
    router = make_router(
        "topk",
        8,
        8,
        2,
        capacity_factor=0.25,
        capacity_per="device",
        n_group=4,
        never_drop_share=0.5,
    ).train()
    kept = router(torch.randn(20 * 16, 8), n_sequences=20).kept.view(20, 32).float().mean(1)
    untouched = int((kept == 1).sum())
    assert 4 <= untouched <= 16 and kept.min() < 0.5
