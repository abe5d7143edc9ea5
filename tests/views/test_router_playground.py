"""The router playground and the routing in the plane, against arithmetic written out here."""

import json
import math

import pytest
import torch
from matplotlib.figure import Figure

from moe_lib.model import Routing
from moe_lib.model.routers import make_router
from moe_lib.tracing.routing_in_the_plane import (
    CELLS,
    LIMIT,
    METHODS,
    N_GROUPS,
    PlaneSettings,
    route_plane,
)
from moe_lib.views.router_playground.routing_grid import draw_routing
from moe_lib.views.router_playground.widget import RouterPlayground

POINTS = torch.tensor(
    [[2.0, 0.1], [1.8, 0.4], [-1.5, 1.0], [0.3, -2.0], [2.2, -0.3], [-0.4, 1.9], [1.0, 1.1]]
)
DIRECTIONS = torch.tensor(
    [[2.0, 0.5], [0.4, 1.8], [-1.2, 1.5], [-1.5, -0.9], [0.1, -1.7], [1.3, -1.2]]
)
PLAIN = ("noisy_topk", "gshard", "topk_normalised", "topk", "topk_softmax", "biased_topk", "switch")


def by_hand(settings):
    """The k best experts of every point by dot product, as lists; no library involved."""
    logits = [
        [sum(p * d for p, d in zip(point, arrow, strict=True)) for arrow in DIRECTIONS.tolist()]
        for point in POINTS.tolist()
    ]
    k = settings.k(len(DIRECTIONS))
    return [sorted(range(len(row)), key=lambda e, row=row: -row[e])[:k] for row in logits]


@pytest.mark.parametrize("method", PLAIN)
def test_best_experts_are_the_largest_dot_products(method):
    settings = PlaneSettings(method=method, training=False)
    assert route_plane(POINTS, DIRECTIONS, settings).routing.experts.tolist() == by_hand(settings)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_the_librarys_router(method):
    settings = PlaneSettings(method=method, training=False, temperature=2.0)
    result = route_plane(POINTS, DIRECTIONS, settings)
    options = dict(METHODS[method].options) | (
        {"vocab_size": len(POINTS)} if METHODS[method].router_class.by_token_id else {}
    )
    router = make_router(
        METHODS[method].router, 2, len(DIRECTIONS), settings.k(len(DIRECTIONS)), **options
    ).eval()
    with torch.no_grad():
        if method != "hash":
            router.weight.copy_(DIRECTIONS / 2.0)
        expected = router(POINTS, torch.arange(len(POINTS)))
    assert torch.equal(result.routing.experts, expected.experts)
    torch.testing.assert_close(result.routing.weights, expected.weights)
    assert not result.routing.dropped_share()


@pytest.mark.parametrize("method", ["topk", "biased_topk"])
def test_regions_show_the_first_choice_of_a_token_put_there(method):
    bias = (0.3, 0.0, -0.2, 0.0, 0.1, 0.0)
    regions = route_plane(
        POINTS, DIRECTIONS, PlaneSettings(method=method, selection_bias=bias)
    ).regions
    step = 2 * LIMIT / CELLS
    for row, column in ((0, 0), (0, CELLS - 1), (10, 40), (CELLS - 1, 3), (70, 60), (47, 50)):
        x, y = -LIMIT + (column + 0.5) * step, LIMIT - (row + 0.5) * step  # row 0 is at the top
        logits = [x * a + y * b for a, b in DIRECTIONS.tolist()]
        if method == "biased_topk":
            logits = [1 / (1 + math.exp(-value)) + b for value, b in zip(logits, bias, strict=True)]
        assert regions[row, column] == max(range(6), key=logits.__getitem__)


def test_k_stays_within_what_a_router_can_train_with():
    ranges = {name: method.k_range(6) for name, method in METHODS.items()}
    assert ranges.pop("dense") == (6, 6) and ranges.pop("gshard") == (2, 2)
    assert ranges.pop("group_limited") == (1, 4)
    for name in ("switch", "base"):
        assert ranges.pop(name) == (1, 1)
    for name in ("topk_normalised", "biased_topk", "sqrtsoftplus", "gated_hash", "topk_softmax"):
        assert ranges.pop(name) == (2, 6)
        assert route_plane(POINTS, DIRECTIONS, PlaneSettings(name, num_experts_per_tok=1)).k == 2
    assert set(ranges.values()) == {(1, 6)}


@pytest.mark.parametrize("method", METHODS)
def test_regions_exist_just_where_a_tokens_place_decides_alone(method):
    for training in (True, False):
        result = route_plane(POINTS, DIRECTIONS, PlaneSettings(method=method, training=training))
        missing = method in ("hash", "gated_hash", "expert_choice") or (
            method == "base" and training
        )
        assert (result.regions is None) == missing == bool(result.why_none)


def test_lines_part_sets_and_group_limits_make_other_sets():
    def n_sets(**settings):
        return len(route_plane(POINTS, DIRECTIONS, PlaneSettings(**settings)).sets.unique())

    assert n_sets(method="switch") == 6 and n_sets(method="dense") == 1
    two = route_plane(POINTS, DIRECTIONS, PlaneSettings())
    for expert in range(6):  # every first choice goes together with either neighbour
        assert len(two.sets[two.regions == expert].unique()) == 2
    free, limited = (
        route_plane(POINTS, DIRECTIONS, PlaneSettings(method=m, num_experts_per_tok=3)).sets
        for m in ("topk", "group_limited")
    )
    assert not torch.equal(free, limited)


def test_temperature_moves_weights_and_no_choice():
    cold, warm = (route_plane(POINTS, DIRECTIONS, PlaneSettings(temperature=t)) for t in (0.5, 3.0))
    assert torch.equal(cold.routing.experts, warm.routing.experts)
    assert (cold.routing.weights[:, 0] > warm.routing.weights[:, 0]).all()


def test_noise_has_the_chosen_level_in_training_and_is_gone_in_evaluation():
    many = torch.zeros(4000, 2)
    noisy = route_plane(many, DIRECTIONS, PlaneSettings(method="noisy_topk", noise=2.5)).routing
    assert noisy.logits.std().item() == pytest.approx(2.5, rel=0.03)
    settings = PlaneSettings(method="noisy_topk", noise=4.0)
    first, same = (route_plane(POINTS, DIRECTIONS, settings).routing for _ in range(2))
    other = route_plane(
        POINTS, DIRECTIONS, PlaneSettings(method="noisy_topk", noise=4.0, seed=1)
    ).routing
    assert torch.equal(first.experts, same.experts) and not torch.equal(
        first.experts, other.experts
    )
    quiet = PlaneSettings(method="noisy_topk", noise=4.0, training=False)
    assert route_plane(POINTS, DIRECTIONS, quiet).routing.experts.tolist() == by_hand(quiet)


def test_random_state_and_number_of_threads_are_left_alone():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    route_plane(POINTS, DIRECTIONS, PlaneSettings(method="noisy_topk"))
    assert torch.equal(state, torch.get_rng_state()) and threads == torch.get_num_threads()


def test_capacity_seats_first_choices_in_the_order_of_the_tokens():
    settings = PlaneSettings(num_experts_per_tok=2, capacity_factor=1.0)
    result = route_plane(POINTS, DIRECTIONS, settings)
    choices, room, seated = by_hand(settings), math.ceil(2 * len(POINTS) / 6), [0] * 6
    assert result.capacity == room
    for rank in range(2):
        for token, experts in enumerate(choices):
            fits = seated[experts[rank]] < room
            seated[experts[rank]] += fits
            assert result.routing.kept[token, rank] == fits
    assert not result.routing.kept.all(), "this case drops something"
    evaluation = route_plane(POINTS, DIRECTIONS, PlaneSettings(capacity_factor=1.0, training=False))
    assert evaluation.capacity is None and evaluation.routing.kept.all()


def test_a_full_device_drops_its_lowest_affinities():
    result = route_plane(
        POINTS, DIRECTIONS, PlaneSettings(method="group_limited", capacity_factor=0.75)
    )
    routing = result.routing
    device, affinity = routing.experts // (6 // N_GROUPS), routing.scores.gather(1, routing.experts)
    assert result.per_device and result.device_load().sum() == 2 * len(POINTS)
    for number in range(N_GROUPS):
        here = device == number
        kept, lost = affinity[here & routing.kept], affinity[here & ~routing.kept]
        assert (
            len(kept)
            == min(result.capacity, int(here.sum()))
            == result.device_load(kept=True)[number]
        )
        assert not len(lost) or kept.min() >= lost.max()
    assert not routing.kept.all()


def test_hash_follows_the_word_and_base_is_even():
    playground = RouterPlayground("hash")
    experts = playground.result.routing.experts.tolist()
    for word in set(playground.labels):
        assert (
            len({tuple(experts[t]) for t, label in enumerate(playground.labels) if label == word})
            == 1
        )
    before = experts[4]
    playground.move_token(4, -2.9, -2.9)
    assert playground.result.routing.experts.tolist()[4] == before
    playground.method = "base"
    assert playground.result.routing.load().tolist() == [3] * 6


@pytest.mark.parametrize(
    "bad, error, named",
    [
        ({"method": "best"}, ValueError, "method"),
        ({"temperature": 0}, ValueError, "temperature"),
        ({"temperature": "1"}, TypeError, "temperature"),
        ({"noise": -1}, ValueError, "noise"),
        ({"num_experts_per_tok": 0}, ValueError, "num_experts_per_tok"),
        ({"capacity_factor": 0}, ValueError, "capacity_"),
        ({"training": 1}, TypeError, "training"),
        ({"selection_bias": (1.0,)}, ValueError, "selection_bias"),
        ({"tokens": [[0, 0]]}, ValueError, "tokens"),
        ({"experts": [[9, 0]] * 6}, ValueError, "experts"),
        ({"selected": 18}, ValueError, "selected"),
        ({"noise": float("nan")}, TypeError, "noise"),
    ],
)
def test_bad_input_is_refused_by_name_and_changes_nothing(bad, error, named):
    playground = RouterPlayground()
    before = playground.view
    with pytest.raises(error, match=named):
        for name, value in bad.items():
            setattr(playground, name, value)
    assert playground.view == before
    if "selected" not in bad:
        with pytest.raises(error, match=named):
            RouterPlayground(**bad)


@pytest.mark.parametrize("n_experts", [4, 5, 7])
def test_experts_that_devices_cannot_share_are_refused(n_experts):
    with pytest.raises(ValueError, match="directions"):
        RouterPlayground(experts=[[1.0, 0.0]] * n_experts)


def test_labels_need_places():
    with pytest.raises(ValueError, match="tokens"):
        RouterPlayground(labels=["a", "b"])
    assert RouterPlayground(
        labels=["a", "b"], tokens=[[0, 1], [1, 0]]
    ).result.routing.experts.shape == (2, 2)


def test_a_method_takes_the_nearest_k_and_the_wish_comes_back():
    playground = RouterPlayground(num_experts_per_tok=3)
    for method, k in (
        ("switch", 1),
        ("gshard", 2),
        ("dense", 6),
        ("group_limited", 3),
        ("topk", 3),
    ):
        playground.method = method
        assert playground.result.k == playground.view["k"] == k


def unpacked(view):
    codes = []
    for code, length in zip(view["runs"][::2], view["runs"][1::2], strict=True):
        codes += [code] * length
    return torch.tensor(codes).view(CELLS, CELLS)


def test_messages_are_small_and_hold_the_picture():
    playground = RouterPlayground("topk", capacity_factor=1.0)
    result, view = playground.result, playground.view
    assert torch.equal(unpacked(view) % 6, result.regions) and torch.equal(
        unpacked(view) // 6, result.sets
    )
    assert view["load"] == result.routing.load().tolist()
    kept = [[kept for _, _, kept in choices] for choices in view["choices"]]
    assert kept == result.routing.kept.tolist()
    for method in METHODS:
        playground.method = method
        assert len(json.dumps(playground.view)) < 16_000


def test_the_page_is_always_answered():
    playground = RouterPlayground()
    moved = [[0.5, 0.5], *playground.tokens[1:]]
    playground.receive({"asked": 1, "change": {"tokens": moved}})
    assert playground.tokens[0] == [0.5, 0.5] and playground.view["asked"] == 1
    playground.receive({"asked": 2, "change": {"tokens": moved}})  # nothing new
    assert playground.view["asked"] == 2
    playground.receive({"asked": 3, "change": {"temperature": 0}})
    assert playground.view["asked"] == 3 and "temperature" in playground.view["problem"]
    playground.receive({"asked": 4, "change": {"reset": True}})
    assert (
        playground.view["asked"] == 4
        and playground.tokens[0] != [0.5, 0.5]
        and not playground.view["problem"]
    )


def test_summary_tells_router_load_drops_and_weights():
    playground = RouterPlayground("topk", capacity_factor=0.25)
    dropped = int((~playground.result.routing.kept).sum())
    assert (
        f"{dropped} choices dropped" in playground.summary
        and "Token 0, “the”" in playground.summary
    )
    playground.training = False
    assert "evaluation mode" in playground.summary and "choices dropped" not in playground.summary


def test_tokens_no_expert_wants_are_counted():
    playground = RouterPlayground("expert_choice", num_experts_per_tok=1)
    left = sum(not choices for choices in playground.view["choices"])
    assert (
        left
        and f"{left} token" in playground.summary
        and "not chosen by any expert" in playground.summary
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("error")
def test_every_method_has_its_picture(method):
    figure = RouterPlayground(method, capacity_factor=0.5, selected=3).figure()
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == METHODS[method].label
    assert len(figure.axes) == (
        5 if method == "group_limited" else 4
    )  # plane, loads, (devices,) token, words


def test_picture_and_words_stand_beside_the_live_view():
    playground = RouterPlayground(capacity_factor=0.5)
    data, metadata = playground._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert metadata["image/png"]["alt"] == playground.summary
    assert playground.png() == playground.png()


def test_grid_shows_weights_and_crosses_out_what_was_dropped():
    experts = torch.tensor([[0, 2], [0, 1], [2, 0]])
    weights = torch.tensor([[0.7, 0.2], [0.6, 0.3], [0.5, 0.4]])
    kept = torch.tensor([[True, True], [True, False], [True, False]])
    chosen = torch.tensor(
        [[True, True], [True, True], [True, False]]
    )  # the last token's second column is empty
    routing = Routing(experts, weights, torch.rand(3, 4), torch.rand(3, 4), kept, chosen)
    ax = Figure().subplots()
    draw_routing(ax, routing, "title", ["a", "$b", "c"])
    shown = ax.images[0].get_array().filled(0)
    expected = [[0.7, 0, 0.2, 0], [0.6, 0, 0, 0], [0, 0, 0.5, 0]]
    torch.testing.assert_close(torch.tensor(shown).float().nan_to_num(), torch.tensor(expected))
    crosses = ax.lines[0]
    assert (crosses.get_xdata().tolist(), crosses.get_ydata().tolist()) == ([1], [1])
