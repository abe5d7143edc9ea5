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
    with pytest.raises(ValueError, match="limit: got 1; wants enough for 2 experts a token"):
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
