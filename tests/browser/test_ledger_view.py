"""The ledger in JupyterLab: filtered by mouse, keys and words, unfolded, in two languages and
both themes."""

import pytest

from tests.browser.harness import CONTRAST, kernel_value, open_widget, set_theme, wait_for_value

CELL = """
from moe_course.article.ledger_view import LedgerView

view = LedgerView()
view
"""


@pytest.fixture
def ledger(lab, page):
    return open_widget(lab, page, "ledger-view", CELL)


def test_it_is_filtered_by_keys_lists_and_words_and_a_row_unfolds(page, ledger):
    ledger.get_by_test_id("ledger-verdict-all").focus()
    page.keyboard.press("ArrowDown")
    wait_for_value(page, "view.verdict", "holds")
    page.keyboard.press("ArrowDown")  # the choice by keys goes on after the answer
    wait_for_value(page, "view.verdict", "holds if")
    ledger.get_by_test_id("ledger-verdict-false").check()
    wait_for_value(page, "view.verdict", "false")
    ledger.get_by_test_id("ledger-part").select_option("4")
    wait_for_value(page, "view.part", "4")
    ledger.get_by_test_id("ledger-text").press_sequentially("dot product")
    wait_for_value(page, "view.text", "dot product")
    assert kernel_value(page, "[row.id for row in view.shown]") == ["gradient-of-a-weight"]
    row = ledger.get_by_test_id("ledger-row-gradient-of-a-weight")
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    row.get_by_text("M_k(x) does not contain a_k").wait_for()
    ledger.get_by_test_id("ledger-language-chinese").check()
    wait_for_value(page, "view.language", "chinese")
    row.get_by_text("每个专家一个内积").wait_for()  # it stays unfolded
    ledger.get_by_test_id("ledger-reset").click()
    wait_for_value(page, "view.text", "")
    assert ledger.get_by_test_id("ledger-text").input_value() == ""
    assert ledger.locator("details").count() == kernel_value(page, "len(view.ledger.rows)")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_words_can_be_read_and_stay_in_the_page(page, ledger, theme):
    set_theme(page, theme)
    assert ledger.evaluate(CONTRAST) >= 4.5
    for name in ("ledger-part", "ledger-text", "ledger-reset"):
        assert ledger.get_by_test_id(name).evaluate(CONTRAST) >= 4.5
    assert ledger.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert ledger.get_by_test_id("ledger-rows").evaluate("e => e.scrollWidth <= e.clientWidth")
