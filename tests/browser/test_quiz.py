"""A quiz in a real JupyterLab: its choices can be read and used on a narrow page."""

import pytest

from tests.browser.harness import kernel_value, make_notebook, run_all, wait_for_value

# Choices of the longest quiz wrap at this width. Heights are those of the text itself.
NARROW = {"width": 800, "height": 1000}
CHOICES = """() => [...document.querySelectorAll('.moe-quiz .widget-radio-box')].map(group =>
  [...group.querySelectorAll('label')].map(label => {
    const words = document.createRange();
    words.selectNodeContents(label);
    const box = words.getBoundingClientRect(), button = label.querySelector('input');
    const round = button.getBoundingClientRect();
    return [box.top, box.bottom, box.right, round.top, round.bottom, round.right, words.toString()];
  }))"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_long_choices_wrap_and_lie_upon_no_other(lab, page, theme):
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size(NARROW)
    make_notebook(lab, page, "quiz.ipynb", "from moe_course import quiz", "q = quiz('11')", "q")
    page.evaluate("window.jupyterapp.shell.collapseLeft()")
    assert run_all(page)
    page.locator(".moe-quiz").last.wait_for()
    groups = page.evaluate(CHOICES)
    assert len(groups) == kernel_value(page, "len(q.questions)")
    heights = {bottom - top for group in groups for top, bottom, *_ in group}
    assert max(heights) > 1.5 * min(heights)  # some take two lines, or this tests nothing
    for group in groups:
        for (_, bottom, *_), (top, *_) in zip(group, group[1:], strict=False):
            assert bottom <= top + 1
        for top, bottom, right, round_top, round_bottom, _, words in group:
            assert words and right <= NARROW["width"]
            assert top - 2 <= round_top and round_bottom <= bottom + 2  # its button is beside it


def test_a_choice_is_taken_by_keyboard(lab, page):
    make_notebook(lab, page, "quiz.ipynb", "from moe_course import quiz", "q = quiz('06')", "q")
    assert run_all(page)
    first = page.locator(".moe-quiz").first.locator("input").first
    first.focus()
    page.keyboard.press("Space")
    wait_for_value(page, "q.chosen[0]", 0)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    wait_for_value(page, "q.chosen[0]", 1)
