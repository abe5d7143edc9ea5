"""The expert-cache player in code: what it plays, messages, words and the picture."""

import pytest
import torch

from moe_lib import RoutingTrace
from moe_lib.tracing.cache_controls import shuffled
from moe_lib.tracing.expert_cache import simulate_expert_cache
from moe_lib.views.expert_cache import ExpertCachePlayer

NOISE = torch.rand(60, 2, 6, generator=torch.Generator().manual_seed(0))
TRACE = RoutingTrace.from_arrays(NOISE.topk(2).indices, n_experts=6)
GUESSES = {"right": {1: TRACE.layers[1].experts[0]}}


@pytest.fixture
def widget():
    return ExpertCachePlayer(TRACE, num_slots=3, guesses=GUESSES)


def test_its_rates_are_those_of_the_simulation(widget):
    widget.set(token=widget.tokens)
    one = TRACE.filter(layers=[0])
    assert widget.tokens == 60 and widget.rates == pytest.approx(
        {
            "own": simulate_expert_cache(one, 3).hit_rate,
            "shuffled": simulate_expert_cache(shuffled(one), 3).hit_rate,
            "belady": simulate_expert_cache(one, 3, "belady").hit_rate,
        }
    )
    events = simulate_expert_cache(one, 3).layers[0].events
    widget.token = 20
    asked = [len(event.experts) for event in events[:20]]
    assert widget.rates["own"] == pytest.approx(
        sum(len(event.hits) for event in events[:20]) / sum(asked)
    )


def test_the_slots_say_who_was_there_who_came_and_who_went(widget):
    trace = RoutingTrace.from_arrays([[[0, 1]], [[1, 2]], [[0, 3]]], n_experts=6)
    player = ExpertCachePlayer(trace, num_slots=3)
    seen = []
    for token in (1, 2, 3):
        player.token = token
        seen.append([(s["expert"], s["state"], s["gone"]) for s in player.view["slots"]])
    assert seen[0] == [(0, "loaded", None), (1, "loaded", None), (None, "free", None)]
    assert seen[1] == [(0, "kept", None), (1, "hit", None), (2, "loaded", None)]
    assert seen[2] == [(0, "hit", None), (1, "kept", None), (3, "loaded", 2)]
    assert "needs experts 0 and 3; there: expert 0; loaded: expert 3; had to go: expert 2." in (
        player.summary
    )
    assert player.view["strip"][1] == {"word": "2", "hits": 1, "misses": 1}


def test_a_guess_is_shown_as_one_and_counted_as_a_load(widget):
    widget.set(layer=1, prefetch="right", token=60)
    assert widget.rates["own"] == 1 > widget.rates["belady"]
    assert {slot["state"] for slot in widget.view["slots"]} <= {"guessed", "hit", "kept"}
    loads = simulate_expert_cache(TRACE.filter(layers=[1]), 3, prefetch=GUESSES["right"]).loads
    assert f"loads {loads} experts, {loads} of them on a guess" in widget.summary
    widget.policy = "belady"  # needs no guess, and takes none
    assert widget.prefetch == "none" and not widget.view["can_guess"]


def test_static_keeps_its_set_and_only_the_first_tokens_are_played():
    player = ExpertCachePlayer(TRACE, num_slots=3, policy="static", max_tokens=10)
    assert player.tokens == 10
    states = {slot["state"] for slot in player.view["slots"]}
    assert states <= {"hit", "kept"}
    player.token = 10
    fitted = ExpertCachePlayer(TRACE, num_slots=3, policy="static", fitted_on=TRACE, max_tokens=10)
    assert [s["expert"] for s in fitted.view["slots"]] == [
        *simulate_expert_cache(TRACE, 3, "static").layers[0].events[0].slots
    ]


def test_the_page_chooses_and_is_told_what_cannot_be(widget):
    for message, name in (
        ({"token": 7}, "token"),
        ({"layer": 1}, "layer"),
        ({"num_slots": 6}, "num_slots"),
        ({"policy": "lfu"}, "policy"),
        ({"prefetch": "right"}, "prefetch"),
    ):
        assert widget.receive(message) == "" and getattr(widget, name) == message[name]
    before = (widget.token, widget.layer, widget.num_slots, widget.policy, widget.prefetch)
    for message in (
        *({"token": 61}, {"token": 0}, {"layer": 5}, {"num_slots": 1}, {"num_slots": 7}),
        *({"policy": "fifo"}, {"prefetch": "wrong"}, {"token": "1"}, {"layer": 0, "token": 1}, 3),
    ):
        assert widget.receive(message) != "" and widget.view["problem"]
        now = (widget.token, widget.layer, widget.num_slots, widget.policy, widget.prefetch)
        assert now == before
    widget.policy = "static"
    assert "prefetch" in widget.receive({"prefetch": "right"})


@pytest.mark.parametrize(
    "arguments, says",
    [
        (dict(layer=7), "index"),
        (dict(num_slots=1), "num_slots"),
        (dict(policy="fifo"), "policy"),
        (dict(max_tokens=0), "max_tokens"),
        (dict(tokenizer=3), "tokenizer"),
        (dict(fitted_on=3), "fitted_on"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, says):
    with pytest.raises((ValueError, TypeError)) as caught:
        ExpertCachePlayer(TRACE, **arguments)
    assert says in str(caught.value)
    with pytest.raises(ValueError, match=r"guesses\[0\]"):
        ExpertCachePlayer(TRACE, guesses={"short": {0: torch.zeros(3, 1)}}).set(prefetch="short")


def test_the_picture_holds_the_same_rates(widget):
    widget.set(token=30)
    figure = widget.figure()
    texts = {label for ax in figure.axes for label in ax.get_legend_handles_labels()[1]}
    assert {f"{one['words']} {one['rate']}" for one in widget.view["rates"]} == texts
    assert len(widget.png()) > 1000 and widget.png() == widget.png()
