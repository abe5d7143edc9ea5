"""A line for waiting and a line for being written, for every request of a simulation."""

import pytest

from moe_lib.views.figures.serving import histories_figure

WAYS = {"one by one": [(0, 1, 4), (1, 5, 6)], "continuous": [(0, 1, 5), (1, 3, 4)]}


def test_every_request_waits_and_is_written():
    figure = histories_figure(WAYS)
    assert [ax.get_title() for ax in figure.axes] == list(WAYS)
    for ax, histories in zip(figure.axes, WAYS.values(), strict=True):
        waits, written = ax.collections
        ends = [
            [tuple(segment[:, 0]) for segment in lines.get_segments()] for lines in (waits, written)
        ]
        assert ends[0] == [(arrived, first) for arrived, first, _ in histories]
        assert ends[1] == [(first, ended) for _, first, ended in histories]
        assert ax.yaxis_inverted()  # the first to come is at the top


def test_times_that_run_backwards_are_refused():
    for wrong in ([(0, 5, 4)], [(0, 1)], [(0, None, 1)], [("0", "1", "2")], []):
        with pytest.raises((ValueError, TypeError), match="ways"):
            histories_figure({"a": wrong})
    with pytest.raises(ValueError, match="ways"):
        histories_figure({})
