"""Tokens that fly to their experts: who goes where, counted by hand; settings, words, picture."""

import pytest
import torch

from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.views.flying_tokens import FlyingTokens

# Four experts, two on each of two devices; tokens 0 and 1 live on device 0, 2 and 3 on device 1.
EXPERTS = [[0, 1], [1, 2], [3, 2], [0, 3]]
SCORES = [[0.5, 0.4, 0.05, 0.05], [0.1, 0.4, 0.3, 0.2], [0.1, 0.1, 0.3, 0.5], [0.4, 0.1, 0.2, 0.3]]


def trace_of(scores=True, experts=EXPERTS, n_experts=4):
    chosen = torch.tensor([experts])
    layer = LayerTrace(
        "layers.3.feed_forward",
        3,
        n_experts,
        chosen,
        torch.full(chosen.shape, 0.5),
        torch.tensor([SCORES]) if scores else None,
    )
    ids = torch.arange(len(experts))[None]
    return RoutingTrace((layer,), ids, torch.ones_like(ids, dtype=torch.bool))


@pytest.fixture
def widget():
    return FlyingTokens(trace_of(), labels=["a", "b", "c", "d"], row_bytes=100)


def ways(widget):
    return [(flight.home, flight.to) for flight in widget.plan.flights]


def test_a_token_flies_once_to_each_device_that_holds_one_of_its_experts(widget):
    assert widget.devices == widget.limit == 2 and widget.at == 4
    assert ways(widget) == [(0, ()), (0, (1,)), (1, ()), (1, (0,))]
    assert widget.plan.rows(4).tolist() == [[0, 1], [1, 0]]
    assert widget.plan.work(4).tolist() == [4, 4] and widget.plan.work(1).tolist() == [2, 0]
    widget.devices = 4  # an expert and a token each
    assert ways(widget) == [(0, (1,)), (1, (2,)), (2, (3,)), (3, (0,))]


def test_a_limit_chooses_anew_among_the_devices_of_the_best_experts(widget):
    widget.set(limit=1)
    assert [sorted(e for e, _ in f.choices) for f in widget.plan.flights] == [
        [0, 1],
        [0, 1],
        [2, 3],
        [0, 1],
    ]
    assert ways(widget) == [(0, ()), (0, ()), (1, ()), (1, (0,))]
    widget.set(devices=4)
    assert widget.limit == 4 and widget.view["limits"] == [2, 3, 4]  # one expert is not enough
    with pytest.raises(ValueError, match="limit: got 1; wants enough for 2 experts a token: so"):
        widget.set(limit=1)


def test_copies_of_busy_experts_spare_flights():
    experts = [[0, 1]] * 3 + [[0, 3]] * 3  # expert 0 is everybody's
    layer = trace_of(False, experts)
    widget = FlyingTokens(layer)
    before = int(widget.plan.rows(6).sum())
    widget.set(copies=2)
    homes = [0 in held for held in widget.plan.held]
    assert homes == [True, True]  # the busiest expert is everywhere
    assert int(widget.plan.rows(6).sum()) < before == 3
    assert int(widget.plan.work(6).sum()) == 12  # nothing is computed twice


@pytest.fixture
def popular():
    """48 tokens of 4 of 16 experts, some of which are everybody's."""
    generator = torch.Generator().manual_seed(0)
    liked = torch.randn(16, generator=generator)
    scores = (torch.randn(1, 48, 16, generator=generator) + liked).softmax(-1)
    layer = LayerTrace("layers.0", 0, 16, scores.topk(4).indices, scores=scores)
    ids = torch.zeros(1, 48, dtype=torch.int64)
    return FlyingTokens(RoutingTrace((layer,), ids, torch.ones_like(ids, dtype=torch.bool)))


@pytest.mark.parametrize("copies", [0, 8])
@pytest.mark.parametrize("limit", [2, 3, 8])
def test_no_token_uses_more_devices_than_the_limit_with_or_without_copies(popular, limit, copies):
    popular.set(devices=8, copies=copies)
    if limit not in popular.view["limits"]:  # two devices may hold copies of one expert
        assert (limit, copies) == (2, 8)
        return
    popular.set(limit=limit)
    scores = popular._layer.scores[0]
    for token, flight in enumerate(popular.plan.flights):
        used = {device for _, device in flight.choices}
        chosen = {expert for expert, _ in flight.choices}
        assert len(chosen) == 4 and len(used) <= limit
        assert all(expert in popular.plan.held[device] for expert, device in flight.choices)
        if limit == 8:
            assert chosen == set(scores[token].topk(4).indices.tolist())
        elif not copies:  # by brute force: the devices in the order of their best expert
            best = sorted(range(8), key=lambda d: -max(scores[token, 2 * d : 2 * d + 2]))[:limit]
            open_ = [e for d in best for e in (2 * d, 2 * d + 1)]
            assert chosen == set(sorted(open_, key=lambda e: -scores[token, e])[:4])


def test_a_limit_that_does_not_bind_changes_no_choice():
    """A router with a bias chooses other experts than the affinities alone would."""
    layer = trace_of(experts=[[2, 3]] * 4)  # for tokens 0, 1 and 3 not the best two
    widget = FlyingTokens(layer)
    widget.set(limit=1)
    assert all(flight.choices == ((2, 1), (3, 1)) for flight in widget.plan.flights)


def test_without_affinities_there_is_no_limit_and_it_says_so():
    widget = FlyingTokens(trace_of(scores=False))
    assert widget.view["limits"] == [2]
    with pytest.raises(ValueError, match="limit: got 1; wants 2, all devices: this trace has no"):
        widget.limit = 1
    assert widget.limit == 2


def test_padding_and_empty_columns_take_no_part():
    layer = LayerTrace(
        "l",
        0,
        4,
        torch.tensor([EXPERTS]),
        chosen=torch.tensor([[[1, 0], [1, 1], [1, 1], [1, 1]]]) > 0,
    )
    real = torch.tensor([[True, True, True, False]])
    widget = FlyingTokens(RoutingTrace((layer,), torch.zeros(1, 4, dtype=torch.int64), real))
    assert [len(flight.choices) for flight in widget.plan.flights] == [1, 2, 2]


def test_the_page_plays_and_is_told_what_cannot_be(widget):
    assert widget.receive({"at": 2}) == "" and widget.at == 2
    assert widget.receive({"copies": 2}) == "" and widget.copies == 2
    for message in ({"at": 5}, {"at": -1}, {"devices": 3}, {"limit": 3}, {"copies": 1}, {"x": 1}):
        assert widget.receive(message) != ""
        assert widget.view["problem"] and (widget.at, widget.copies, widget.devices) == (2, 2, 2)


def test_the_words_say_who_flew_and_what_was_sent(widget):
    for part in (
        "Token 4, “d”, lives on device 1",
        "it flies to device 0",
        "2 rows left",
        "0.50 a token",
        "200 B there",
        "4 pairs",
        "1.00 times the mean",
    ):
        assert part in widget.summary
    widget.set(at=1)
    assert "it stays at home" in widget.summary and "busiest link" not in widget.summary
    widget.at = 0
    assert widget.summary.endswith("None has flown yet.")


def test_the_picture_counts_the_same(widget):
    texts = [text.get_text() for text in widget.figure().axes[0].texts]
    assert texts == ["1", "1"] and len(widget.png()) > 1000
    heights = [bar.get_height() for bar in widget.figure().axes[1].patches]
    assert heights == [4, 4]


def test_a_long_text_is_cut_and_a_large_layer_refused():
    widget = FlyingTokens(trace_of(False, EXPERTS * 80))
    assert len(widget.plan.flights) == 256
    with pytest.raises(ValueError, match="trace: got '66 experts'; wants an even number"):
        FlyingTokens(trace_of(False, n_experts=66))
    with pytest.raises(ValueError, match="layer: got 2; wants one of 3"):
        FlyingTokens(trace_of(), layer=2)
    with pytest.raises(ValueError, match="labels: got 1; wants one for each of 4 tokens"):
        FlyingTokens(trace_of(), labels=["a"])
