"""The pictures of chapter 01 show the numbers they are given."""

import pandas as pd
import pytest
import torch

from moe_lib.text import pack
from moe_lib.views.figures.text import batch_figure, cost_figure, packing_figure, vocabulary_figure


def test_cost_shows_every_number_and_frames_the_cheapest_of_each_column():
    cost = pd.DataFrame({"a": [0.5, 0.75, 1.0], "b": [2.0, 1.0, 3.0]}, index=["x", "y", "z"])
    ax = cost_figure(cost).axes[0]
    assert [text.get_text() for text in ax.texts] == [
        "0.50",
        "2.00",
        "0.75",
        "1.00",
        "1.00",
        "3.00",
    ]
    centres = [patch.get_center() for patch in ax.patches]
    assert [(round(x), round(y)) for x, y in centres] == [(0, 0), (1, 1)]


def test_vocabulary_has_a_line_per_text():
    curves = pd.DataFrame({"a": [1.0, 0.5], "b": [1.0, 0.7]}, index=[272, 512])
    ax = vocabulary_figure(curves).axes[0]
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert list(ax.lines[1].get_xdata()) == [272, 512] and list(ax.lines[1].get_ydata()) == [
        1.0,
        0.7,
    ]


def test_packing_draws_padding_runs_and_ends():
    documents = [[5] * 6, [6] * 3, [7] * 4]
    left, right = packing_figure([6, 3, 4], pack(documents, 8, end_token_id=1), end_token_id=1).axes
    assert "28% is padding" in left.get_title()  # 5 of 18
    assert "(2, 8)" in right.get_title()
    # Rows: 5 5 5 5 5 5 end 6 | 6 6 end 7 7 7 7 end: three ends, and the runs 7 + 1, 3 + 5.
    widths = [patch.get_width() for patch in right.patches]
    assert sorted(widths) == [1, 1, 1, 1, 3, 5, 7]


def test_batch_frames_the_picked_places_of_the_masked_lines_only():
    picked = torch.tensor([False, True, False])
    ax = batch_figure(
        {"text": ["a", "b", "c"], "masked: labels": ["-100", "b", "-100"]}, picked
    ).axes[0]
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c", "-100", "b", "-100"]
    assert [patch.get_linewidth() > 1 for patch in ax.patches] == [False] * 4 + [True, False]


def test_batch_refuses_lines_of_another_length():
    with pytest.raises(ValueError, match=r"lines\['text'\]: got '2 words'; wants 3"):
        batch_figure({"text": ["a", "b"]}, torch.zeros(3, dtype=torch.bool))
