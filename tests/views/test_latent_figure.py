"""The picture of turns between query and key: every matrix is drawn on one scale, with its axes."""

import pytest
import torch

from moe_lib.views.figures.latent import turns_figure

TURNS = {0: torch.eye(4), 3: -torch.eye(4)}
MERGED = {0: torch.ones(2, 4), 3: 5 * torch.ones(2, 4)}


def test_every_matrix_is_drawn_with_axes_and_each_row_with_one_scale():
    figure = turns_figure(TURNS, MERGED, {0: 0.0, 3: 4.0})
    drawn = [ax for ax in figure.axes if ax.get_images()]
    arrays = [ax.get_images()[0].get_array() for ax in drawn]
    wanted = [*TURNS.values(), *MERGED.values()]
    assert all((a == m.numpy()).all() for a, m in zip(arrays, wanted, strict=True))
    assert [ax.get_images()[0].get_clim() for ax in drawn] == [(-1, 1)] * 2 + [(-5, 5)] * 2
    assert all(ax.get_xlabel() and ax.get_title() for ax in drawn)
    assert len(figure.axes) == len(drawn) + 2  # a colour bar for each row


def test_distances_that_differ_are_refused():
    with pytest.raises(ValueError, match="merged"):
        turns_figure(TURNS, {0: torch.ones(2, 4)}, {0: 0.0, 3: 4.0})
    with pytest.raises(ValueError, match="turns"):
        turns_figure({}, {}, {})
