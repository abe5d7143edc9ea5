"""The pictures of the chapter on mixtures hold the numbers they are given; nothing in them is told
by colour alone."""

import pandas as pd
import pytest
import torch

from moe_lib.views.figures.mixture import (
    batch_reads_figure,
    plane_figure,
)

TABLE = pd.DataFrame([[0.5, 0.7], [0.1, 0.3]], index=[1, 2])


def test_every_token_stands_where_it_lies_with_the_mark_of_its_expert():
    points = torch.tensor([[1.0, 1.0], [2.0, 1.0], [-1.0, -2.0], [1.0, 2.0]])
    frames = {"before": torch.tensor([0, 1, 0, 1]), "after": torch.tensor([3, 3, 2, 2])}
    figure = plane_figure(points, frames)
    assert [ax.get_title() for ax in figure.axes] == list(frames)
    for ax, experts in zip(figure.axes, frames.values(), strict=True):
        dots = [line for line in ax.lines if line.get_marker() != "None"]
        drawn = {line.get_marker(): line.get_xydata().tolist() for line in dots}
        assert len(drawn) == len(experts.unique())  # a mark of its own for each expert
        everything = torch.tensor(sorted(sum(drawn.values(), [])))
        torch.testing.assert_close(everything, torch.tensor(sorted(points.tolist())))
    assert [text.get_text() for text in figure.axes[1].texts] == ["3"]  # 2 lies on both sides
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["expert 0", "expert 1", "expert 2", "expert 3"]


def test_plane_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="frames"):
        plane_figure(torch.zeros(3, 2), {})
    with pytest.raises(ValueError, match="'a'"):
        plane_figure(torch.zeros(3, 2), {"a": torch.zeros(2, dtype=torch.long)})


def test_a_batch_beside_the_formula():
    figure = batch_reads_figure(TABLE.set_axis(["a", "b"], axis=1), 16, TABLE * 2, [0.4, 0.2])
    left, right = figure.axes
    assert list(left.lines[1].get_ydata()) == pytest.approx([0.4 - 0.7, 0.2 - 0.3])
    assert list(right.lines[0].get_ydata()) == (TABLE[0] * 2).tolist()
    with pytest.raises(ValueError, match="formula"):
        batch_reads_figure(TABLE, 16, TABLE, [1.0])
