"""The pictures hold the numbers they are given, with the marks that make them readable."""

import numpy as np
import pandas as pd
import pytest
import torch

from moe_lib.views.figures.preferences import (
    ablation_figure,
    bits_figure,
    coactivation_figure,
    domain_figure,
    domain_words,
    importance_figure,
    interval_figure,
    saturation_figure,
)

TABLE = pd.DataFrame([[0.5, 0.25, 1.25], [0.9, 0.9, 0.2]], index=["art", "code"])


def test_heat_maps_share_one_scale_and_mark_the_even_share():
    figure = domain_figure({"trained": TABLE, "untrained": TABLE / 2}, even=2 / 3)
    left, right, bar = figure.axes
    assert np.array_equal(left.images[0].get_array(), TABLE) and np.array_equal(
        right.images[0].get_array(), TABLE / 2
    )
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 1.25)
    assert [label.get_text() for label in left.get_yticklabels()] == ["art", "code"]
    assert bar.lines[0].get_ydata()[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="tables"):
        domain_figure({}, 0.5)


def test_words_tell_the_largest_share_of_every_row():
    words = domain_words({"trained": TABLE, "untrained": TABLE / 2}, even=2 / 3)
    assert words.startswith(
        "Heat maps, domain by expert; an even share is 66.7%. Largest, trained,"
    )
    assert "trained, art: expert 2 125%; trained, code: expert 0 90%; untrained, art" in words
    assert words.endswith("untrained, code: expert 0 45%.")
    with pytest.raises(ValueError, match="tables"):
        domain_words({}, 0.5)


def test_intervals_span_low_to_high_around_the_share():
    share, low, high = TABLE[0], TABLE[0] - 0.1, TABLE[0] + 0.2
    (ax,) = interval_figure({"layer 1": (share, low, high)}, even=0.3).axes
    spans = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert spans == [pytest.approx([0.4, 0.7]), pytest.approx([0.8, 1.1])]
    assert ax.lines[0].get_xdata().tolist() == [0.5, 0.9] and ax.lines[1].get_xdata()[0] == 0.3


def test_bars_of_bits_are_grouped_by_row():
    (ax,) = bits_figure(TABLE.set_axis(["a", "b", "c"], axis=1)).axes
    assert [
        [bar.get_height() for bar in group] for group in ax.containers
    ] == TABLE.T.to_numpy().tolist()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["art", "code"]


def test_coactivation_leaves_the_diagonal_out_of_picture_and_scale():
    table = torch.tensor([[1.0, 0.25], [0.5, 1.0]])
    ax = coactivation_figure({"trained": table}).axes[0]
    shown = ax.images[0].get_array()
    assert ax.images[0].get_clim() == (0, 0.5)
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown)).tolist() == [
        [True, False],
        [False, True],
    ]
    assert bool((table.diagonal() == 1).all())  # the table itself is not changed


def test_saturation_draws_each_layer_with_its_chance():
    found, chance = torch.tensor([[0.2, 0.1], [0.6, 0.5], [1, 1]]), torch.full((3, 2), 0.15)
    (ax,) = saturation_figure([0, 90, 100], found, chance, [1, 2]).axes
    told = [label.get_text() for label in ax.get_xticklabels()]
    assert told == ["0", "100"]  # 90 would lie upon 100
    assert ax.lines[0].get_xdata().tolist() == [0, 90, 100]
    assert torch.tensor(ax.lines[0].get_ydata()).tolist() == found[:, 0].tolist()
    assert torch.tensor(ax.lines[3].get_ydata()).tolist() == chance[:, 1].tolist()
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["layer 1", "layer 2"]


def test_ablation_shows_own_harm_beside_the_random_draws():
    rises = pd.DataFrame([[0.3, 0.0], [-0.1, 0.2]], index=["art", "code"], columns=["art", "code"])
    random = pd.DataFrame([[0.05, 0.1], [0.15, 0.1]], columns=["art", "code"])
    left, right = ablation_figure(rises, random).axes[:2]
    assert [text.get_text() for text in left.texts] == ["0.30", "0.00", "-0.10", "0.20"]
    assert right.lines[1].get_xdata().tolist() == [0.3, 0.2]
    assert right.collections[0].get_segments()[0][:, 0].tolist() == [0.05, 0.15]


def test_importance_has_a_dot_per_expert_and_layer():
    use, rise = torch.rand(2, 4), torch.rand(2, 4)
    (ax,) = importance_figure({"all": (use, rise)}, [1, 2], "load").axes
    for number in range(2):
        assert torch.equal(torch.as_tensor(ax.lines[number].get_xdata()), use[number])
        assert torch.equal(torch.as_tensor(ax.lines[number].get_ydata()), rise[number])
