"""The pictures of chapter 00 show the numbers they are given."""

import pandas as pd
import pytest

from moe_lib.views.figures.start import exchange_figure, same_expert_figure

CASES = ["one off", "none", "wrong", "wrong"]
LOST = pd.DataFrame({"code": [0.0, 0.2, 0.3, 0.5], "prose": [0.0, 0.1, 0.2, 0.3]}, index=CASES)
CHANGED = pd.DataFrame({"changed": [0.01, 0.2, 0.3, 0.4]}, index=CASES)


def test_exchange_shows_every_draw_and_the_mean_share_of_changed_predictions():
    left, right = exchange_figure(LOST, CHANGED).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["prose", "code"]  # by loss
    draws = [line for line in left.lines if len(line.get_xdata()) == 2 and line.get_marker() != ""]
    points = [list(line.get_xdata()) for line in draws if line.get_marker() in "sDo"]
    assert points == [[0.0, 0.0], [0.1, 0.2], [0.2, 0.3], [0.3, 0.5]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "one off",
        "none",
        "wrong",
    ]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([0.01, 0.2, 0.35])
    assert "35.0%\n(30.0% to 40.0%)" in right.texts[2].get_text()


def test_exchange_refuses_tables_of_different_cases():
    with pytest.raises(ValueError, match="changed: got"):
        exchange_figure(LOST, CHANGED[::-1])
    with pytest.raises(ValueError, match="5 cases"):
        five = LOST.iloc[[0, 1, 2, 3, 0]].set_axis(list("abcde"))
        exchange_figure(five, CHANGED.iloc[[0, 1, 2, 3, 0]].set_axis(list("abcde")))


def test_same_expert_has_a_bar_a_layer_and_a_diamond_per_untrained_model():
    rows = [("trained", 1, 0.4, 0.1), ("trained", 2, 0.5, 0.1)]
    rows += [(f"seed {n}", layer, 0.1 * n, 0.1) for n in (1, 2) for layer in (1, 2)]
    results = pd.DataFrame(rows, columns=["model", "layer", "equal tokens", "chance"])
    ax = same_expert_figure(results).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [0.4, 0.5]
    (diamonds,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert list(diamonds.get_ydata()) == pytest.approx([0.1, 0.1, 0.2, 0.2])
    with pytest.raises(ValueError, match="results: got"):
        same_expert_figure(results[2:])
