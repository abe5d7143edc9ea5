"""The pictures of a task's experts hold the shares they are given, and mark the chosen experts and
no others."""

from types import SimpleNamespace

import pytest

from moe_lib.views.figures.tuning import (
    COLOURS,
    expert_choice_words,
    reaching_p_figure,
    task_experts_figure,
)

ONE = SimpleNamespace(
    relevance={1: (0.5, 0.125, 0.25, 0.125), 3: (0.25, 0.25, 0.125, 0.375)},
    experts={1: (0, 2), 3: (3, 0)},
    p=0.6,
)
TWO = SimpleNamespace(
    relevance={1: (0.25, 0.25, 0.5, 0.0), 3: (0.0, 0.75, 0.25, 0.0)},
    experts={1: (2, 0), 3: (1,)},
    p=0.7,
)
BOTH = {"intents": ONE, "$prices$": TWO}


def test_bars_hold_the_shares_and_marks_stand_above_the_chosen():
    axes = task_experts_figure(BOTH).axes
    assert len(axes) == 2
    for ax, layer in zip(axes, (1, 3), strict=True):
        for bars, line, one in zip(ax.containers, ax.lines, (ONE, TWO), strict=False):
            assert tuple(bar.get_height() for bar in bars) == one.relevance[layer]
            middle = [bar.get_x() + bar.get_width() / 2 for bar in bars]
            marked = {min(range(4), key=lambda e: abs(middle[e] - x)) for x in line.get_xdata()}
            assert marked == set(one.experts[layer])
            outlined = {expert for expert, bar in enumerate(bars) if bar.get_linewidth() > 1}
            assert outlined == set(one.experts[layer])
        assert ax.lines[-1].get_ydata()[0] == 1 / 4  # all alike


def test_tasks_differ_by_more_than_their_colour():
    ax = task_experts_figure(BOTH).axes[0]
    one, other = (bars[0] for bars in ax.containers)
    assert one.get_hatch() != other.get_hatch() and one.get_facecolor() != other.get_facecolor()
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    lines = reaching_p_figure(BOTH).axes[0].lines
    assert (
        lines[1].get_linestyle() != lines[3].get_linestyle()
        and lines[2].get_marker() != lines[4].get_marker()
    )
    assert len(set(COLOURS)) == 3


def test_words_say_what_is_drawn():
    assert expert_choice_words(BOTH, 1) == "layer 1: intents 0, 2; $prices$ 2, 0; in common 0, 2"
    assert expert_choice_words(BOTH, 3) == "layer 3: intents 3, 0; $prices$ 1; in common none"
    assert expert_choice_words({"intents": ONE}, 3) == "layer 3: intents 3, 0"
    figure = task_experts_figure(BOTH)
    assert figure.axes[1].get_title(loc="left") == expert_choice_words(BOTH, 3)
    figure.canvas.draw()  # "$" is no formula


def test_curves_climb_to_one_and_marks_stand_where_p_is_reached():
    figure = reaching_p_figure(BOTH)
    even, curve, mark = figure.axes[0].lines[:3]
    assert curve.get_ydata().tolist() == [0, 0.5, 0.75, 0.875, 1]
    assert even.get_ydata().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (2, 0.75)
    for ax, layer in zip(figure.axes, (1, 3), strict=True):
        for place, one in ((2, ONE), (4, TWO)):
            x, y = ax.lines[place].get_xdata()[0], ax.lines[place].get_ydata()[0]
            assert (
                x == len(one.experts[layer]) and y >= one.p > ax.lines[place - 1].get_ydata()[x - 1]
            )
        assert [text.get_text() for text in ax.texts] == ["p = 0.6", "p = 0.7"]


def test_selections_that_do_not_fit_together_are_refused():
    other = SimpleNamespace(relevance={1: (0.5, 0.5)}, experts={1: (0,)}, p=0.1)
    for draw in (task_experts_figure, reaching_p_figure):
        with pytest.raises(ValueError, match="selections: got '0 tasks'"):
            draw({})
        with pytest.raises(ValueError, match="selections: got '4 tasks'"):
            draw(dict.fromkeys("abcd", ONE))
        with pytest.raises(ValueError, match="selections: got 'different layers"):
            draw({"a": ONE, "b": other})
