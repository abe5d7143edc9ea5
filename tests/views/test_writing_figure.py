"""The picture of a text in the making: every token, and under it its experts in their colours."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from moe_lib.views.figures.writing import writing_figure, writing_words
from moe_lib.views.kit.palette import expert_colour

LABELS = ["Once", "␣upon", "⏎", "␣a"]
EXPERTS = [[0, 9], [3, 3], [7, 1], [15, 0]]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_every_token_stands_above_its_experts():
    ax = writing_figure(LABELS, EXPERTS, [1, 2], prompt="$x$ is").axes[0]
    words = texts(ax)
    assert [word for word in words if word in LABELS] == LABELS
    numbers = [int(word) for word in words if word.isdigit()]
    assert numbers == [expert for row in EXPERTS for expert in row]
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert [to_hex(box.get_facecolor()) for box in boxes] == [
        expert_colour(number).fill for number in numbers
    ]
    assert ax.get_title(loc="left") == "“$x$ is” …"


def test_boxes_do_not_overlap_and_stay_inside():
    labels, experts = ["word"] * 60 + ["a" * 50], [[1]] * 61
    figure = writing_figure(labels, experts, [4])
    figure.draw_without_rendering()
    ax = figure.axes[0]
    boxes = sorted((patch.get_y(), patch.get_x(), patch.get_width()) for patch in ax.patches)
    assert len({y for y, _, _ in boxes}) > 1  # several lines
    for (y, left, width), (next_y, next_left, _) in zip(boxes, boxes[1:], strict=False):
        assert next_y > y or next_left >= left + width
    assert max(left + width for _, left, width in boxes) <= ax.get_xlim()[1]
    assert any("…" in text for text in texts(ax))


def test_a_line_end_starts_a_new_line():
    ax = writing_figure(LABELS, EXPERTS, [1, 2]).axes[0]
    heights = [text.get_position()[1] for text in ax.texts if text.get_text() in LABELS]
    assert heights[0] == heights[1] == heights[2] < heights[3]


def test_short_lines_are_drawn_larger_and_fill_the_width():
    long = writing_figure(["a" * 20] * 8, [[1]] * 8, [4])
    short = writing_figure(["word", "⏎", "and"] * 6, [[1]] * 18, [4])
    for figure in (long, short):
        figure.draw_without_rendering()
    sizes = [figure.axes[0].texts[-1].get_fontsize() for figure in (long, short)]
    assert 1.3 * sizes[0] < sizes[1] < 2 * sizes[0]
    assert long.get_figwidth() == short.get_figwidth()
    ax = long.axes[0]
    ends = max(box.get_x() + box.get_width() for box in ax.patches)
    assert ends > 0.9 * ax.get_xlim()[1]


def test_the_words_tell_the_text_and_how_many_experts_each_layer_used():
    words = writing_words(LABELS, EXPERTS, [1, 2], prompt="$x$ is")
    assert words == (
        "4 tokens written after “$x$ is”: Once␣upon⏎␣a. "
        "Different first experts: layer 1 4, layer 2 4."
    )
    same = writing_words(["a", "b"], [[5], [5]], [3])
    assert same == "2 tokens written: ab. Different first experts: layer 3 1."


@pytest.mark.parametrize("made", [writing_figure, writing_words])
def test_wrong_input_is_refused(made):
    with pytest.raises(ValueError, match="labels: got"):
        made([], [], [1])
    with pytest.raises(ValueError, match="experts: got '1 rows'"):
        made(["a", "b"], [[1]], [1])
    with pytest.raises(ValueError, match="experts: got"):
        made(["a"], [[1, 2]], [1])
