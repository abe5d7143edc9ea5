"""Pictures of chapters 02 and 03 show the numbers they are given, with axes that are named."""

import matplotlib
import pytest
import torch
from matplotlib.colors import to_hex

from moe_lib.views.figures.attention import (
    distance_figure,
    parts_figure,
    reach_figure,
    scale_figure,
    weights_figure,
)
from moe_lib.views.figures.masking import gradient_figure

matplotlib.use("Agg")
WEIGHTS = torch.tensor([[1.0, 0.0], [0.25, 0.5]])


def named(figure):
    """All axes with data have both axes named, or share the name of their neighbour."""
    figure.canvas.draw()
    return all(ax.get_xlabel() or ax.get_ylabel() for ax in figure.axes)


def test_weights_have_axes_a_scale_and_row_sums():
    figure = weights_figure({"one": WEIGHTS, "two": WEIGHTS.T}, every=1)
    assert named(figure) and len(figure.axes) == 3
    first, second, scale = figure.axes
    torch.testing.assert_close(torch.as_tensor(first.images[0].get_array()), WEIGHTS.sqrt())
    assert first.get_xlabel() == "token looked at" and first.get_ylabel() == "token that looks"
    assert "row sums 0.75 to 1.00" in first.get_title() and len(first.lines) == 2
    assert scale.get_ylabel() == "weight"
    with pytest.raises(ValueError, match="maps"):
        weights_figure({})
    with pytest.raises(ValueError, match=r"maps\['x'\]"):
        weights_figure({"x": torch.zeros(3)})


def test_scale_shows_both_ways():
    figure = scale_figure([4, 16], [2.1, 3.9], [0.4, 0.6], [0.2, 0.2])
    left, right = figure.axes
    assert named(figure)
    assert [list(line.get_ydata()) for line in right.lines] == [[0.4, 0.6], [0.2, 0.2]]
    assert {text.get_text() for text in right.texts} == {"not divided", "divided by √d"}
    assert list(left.lines[1].get_ydata()) == [2.1, 3.9]


def test_distances_have_a_marker_for_each_start():
    table = torch.arange(6.0).view(2, 3)
    figure = distance_figure({"a": table, "b": table}, [0, 1, 2], [0, 3])
    assert named(figure) and len({line.get_marker() for line in figure.axes[0].lines}) == 2
    assert list(figure.axes[1].lines[1].get_ydata()) == [3, 4, 5]
    with pytest.raises(ValueError, match="tables"):
        distance_figure({"a": table}, [0, 1], [0, 3])


def test_reach_marks_the_replaced_word_by_more_than_colour():
    figure = reach_figure({"causal": torch.tensor([0.0, 0.5])}, ["a", "b"], 1)
    bars = figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == [0.0, 0.5]
    assert bars[1].get_hatch() and not bars[0].get_hatch() and named(figure)
    with pytest.raises(ValueError, match="place"):
        reach_figure({"causal": torch.tensor([0.0])}, ["a"], 1)


def test_parts_are_shares_and_the_total_stands_at_the_end():
    figure = parts_figure({"small": {"x": 1, "y": 3}, "large": {"x": 2_000_000_000, "y": 0}})
    ax = figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.25, 1.0, 0.75, 0.0]
    assert [text.get_text() for text in ax.texts] == ["0.00M", "2.0B"]
    assert len({bar.get_hatch() for bar in ax.patches}) == 2
    with pytest.raises(ValueError, match="models"):
        parts_figure({"a": {"x": 1}, "b": {"y": 1}})


def test_gradient_shows_the_true_token_hatched():
    gradient = torch.tensor([[0.0, 0.0, 0.0], [0.2, -0.3, 0.1]])
    figure = gradient_figure(gradient, ["a", "b"], ["x", "y", "z"], 1, 1)
    left, right = figure.axes
    assert [round(bar.get_height(), 3) for bar in left.patches] == [0.0, 0.6]
    assert [label.get_text() for label in right.get_yticklabels()] == ["y", "x", "z"]
    hatched = [bar for bar in right.patches if bar.get_hatch()]
    assert [round(bar.get_width(), 3) for bar in hatched] == [-0.3]
    assert to_hex(hatched[0].get_facecolor()) != to_hex(right.patches[1].get_facecolor())
    assert right.get_xlabel() == "(p − 1[true]) / 1"
    with pytest.raises(ValueError, match="place"):
        gradient_figure(gradient, ["a", "b"], ["x", "y", "z"], 2, 1)
