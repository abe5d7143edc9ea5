"""Pictures of routing: every choice is drawn, and every run stands at its moves and recall."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from moe_lib.model import make_router
from moe_lib.views.figures.routing import busiest, moves_figure, routings_figure


def routing(name="topk", tokens=5):
    torch.manual_seed(0)
    return make_router(name, 4, 6, 2).eval()(torch.randn(tokens, 4)[:, :4])


def test_a_grid_per_routing_with_what_was_chosen():
    routings = {"one": routing(), "two": routing("topk_softmax"), "three": routing()}
    figure = routings_figure(routings, ["a", "b", "$c", "d", "e"], per_row=2)
    grids = [ax for ax in figure.axes if ax.images]
    for ax, (name, one) in zip(grids, routings.items(), strict=True):
        shown = np.asarray(ax.images[0].get_array().filled(np.nan))
        wanted = torch.full((5, 6), torch.nan).scatter(1, one.experts, one.weights.detach())
        np.testing.assert_allclose(shown, wanted.numpy())
        assert ax.get_title().startswith(f"{name}\nlargest load {busiest(one):.1f}")
    labels = [label.get_text() for label in grids[0].get_yticklabels()]
    assert labels == ["a", "b", "$c", "d", "e"] and not grids[1].get_yticklabels()


def test_busiest_is_one_at_an_even_load():
    even = make_router("dense", 4, 6, 6).eval()(torch.randn(5, 4))
    assert busiest(even) == pytest.approx(1)


def test_every_run_is_a_mark():
    runs = {"table": [(0, 0.9), (0, 0.8)], "learned": [(2.5, 0.6)], "anew": [(19, 0.1)]}
    records = {
        name: [SimpleNamespace(moves=m, recall=r) for m, r in ones] for name, ones in runs.items()
    }
    ax = moves_figure(records, hollow=["anew"]).axes[0]
    for line, (name, ones) in zip(ax.lines, runs.items(), strict=True):
        assert list(zip(*line.get_data(), strict=True)) == ones
        assert (line.get_markerfacecolor() == "none") == (name == "anew")
    assert [text.get_text() for text in ax.texts] == list(runs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: routings_figure({}), "routings: got 'no routing'"),
        (lambda: routings_figure({"a": routing(), "b": routing(tokens=4)}), "the same tokens"),
        (lambda: routings_figure({"a": routing()}, ["one"]), "words: got '1 of them'; wants 5"),
        (lambda: moves_figure({}), "runs: got 0"),
        (lambda: moves_figure({"a": []}), r"runs\['a'\]: got \[\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
