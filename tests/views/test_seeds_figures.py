"""Pictures of results with several seeds: every value is drawn, and no name lies upon another."""

import numpy as np
import pandas as pd
import pytest

from moe_lib.intervals import interval
from moe_lib.views.figures.seeds import curves_figure, dots_figure

ROWS = {"dense": [0.5, 0.52, 0.49], "32 experts": [0.92, 0.93, 0.94], "control": [0.1]}
PLACES = [1024, 4096, 16384]


def curve(*means):
    return pd.DataFrame({seed: [m + 0.01 * seed for m in means] for seed in range(3)}, PLACES)


def test_a_dot_per_seed_in_the_row_of_its_name():
    ax = dots_figure(ROWS, "recall", hollow=["control"]).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(ROWS)
    for row, (line, values) in enumerate(zip(ax.lines, ROWS.values(), strict=True)):
        assert list(line.get_xdata()) == values and set(line.get_ydata()) == {row}
    assert [line.get_markerfacecolor() == "none" for line in ax.lines] == [False, False, True]
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.93", "0.10"]


def test_intervals_are_those_of_the_library():
    rows = {name: ROWS[name] for name in ("dense", "32 experts")}
    ax = dots_figure(rows, "gain", intervals=True, zero=True, digits=3).axes[0]
    found = interval(rows["dense"])
    assert ax.texts[0].get_text() == f"{found.mean:+.3f} ± {found.half:.3f}"
    left, right = ax.collections[0].get_segments()[0][:, 0]
    assert (left, right) == pytest.approx((found.mean - found.half, found.mean + found.half))


def test_curves_are_means_with_the_band_of_the_seeds():
    curves = {"dense": curve(1.0, 0.6, 0.2), "wide": curve(1.0, 0.99, 0.98)}
    figure = curves_figure(curves, "facts", "recall", logx=True)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1,024", "4,096", "16,384"]
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "facts"
    assert ax.lines[0].get_ydata() == pytest.approx([1.01, 0.61, 0.21])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.2, 1.02))
    assert len({line.get_marker() for line in ax.lines}) == 2  # not by colour alone
    assert len({line.get_linestyle() for line in ax.lines}) == 2


def test_names_of_curves_that_end_together_stand_apart_in_order():
    curves = {
        name: curve(1.0, 1.0, end)
        for name, end in zip("abcd", (0.5, 0.51, 0.505, 0.9), strict=True)
    }
    ax = curves_figure(curves, "facts", "recall").axes[0]
    heights = {text.get_text(): text.xy[1] for text in ax.texts}
    assert np.diff(sorted(heights.values())).min() >= 0.07
    assert sorted(heights, key=heights.get) == ["a", "c", "b", "d"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dots_figure({}, "x"), "rows: got 'no row'"),
        (lambda: dots_figure({"a": []}, "x"), r"rows\['a'\]: got 'no value'"),
        (lambda: curves_figure({}, "x", "y"), "curves: got 0"),
        (lambda: curves_figure({"a": pd.DataFrame()}, "x", "y"), r"curves\['a'\]"),
    ],
)
def test_nothing_to_draw_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
