"""Pictures of chapter 08: every matrix is drawn on one scale, with its axes; every way is timed."""

import pandas as pd
import pytest
import torch

from moe_lib.views.figures.latent import timing_figure, turns_figure

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


def test_a_curve_per_way_is_the_mean_of_its_rounds_and_the_band_spans_them():
    times = {
        64: pd.DataFrame(
            {"keys": [2.0, 4.0, 3.0], "expand": [9.0, None, 11.0], "again": [1.0] * 3}
        ),
        256: pd.DataFrame(
            {"keys": [8.0, 8.0, 8.0], "expand": [40.0, None, 20.0], "again": [1] * 3}
        ),
    }
    ax = timing_figure(times, ["keys", "expand"]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["keys", "expand"]
    assert [list(line.get_xdata()) for line in ax.lines] == [[64, 256]] * 2
    assert ax.lines[0].get_ydata() == pytest.approx([3.0, 8.0])
    assert ax.lines[1].get_ydata() == pytest.approx([10.0, 30.0])  # of the rounds it was in
    band = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (9.0, 40.0)
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_a_way_that_was_not_timed_is_refused():
    times = {64: pd.DataFrame({"keys": [2.0], "expand": [float("nan")]})}
    for ways, words in ((["absorbed"], "absorbed"), (["expand"], "no time"), ([], "ways")):
        with pytest.raises(ValueError, match=words):
            timing_figure(times, ways)
    with pytest.raises(ValueError, match="milliseconds"):
        timing_figure({}, ["keys"])
