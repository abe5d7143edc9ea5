"""The compression comparator in JupyterLab: chosen by mouse and keyboard, in both themes."""

import pytest

from tests.browser.harness import (
    CONTRAST,
    kernel_value,
    open_widget,
    set_theme,
    wait_for_value,
)

CELL = """
from moe_lib.views.compression import CompressionCase, CompressionComparator

domains = {"code": 0.1, "stories": 0.3}
comparator = CompressionComparator([
    CompressionCase("pruning", "usage", 600, 0.2, 0.01, None, domains),
    CompressionCase("pruning", "REAP", 600, 0.05, 0.01, None, domains),
    CompressionCase("router", "2 bits", 900, 0.01, 0.002, 0.25),
], whole=1000)
comparator
"""


@pytest.fixture
def comparator(lab, page):
    return open_widget(lab, page, "compression-comparator", CELL)


def test_a_case_is_chosen_by_arrow_keys_and_a_group_by_its_list(page, comparator):
    comparator.get_by_test_id("compression-case-0").focus()
    page.keyboard.press("ArrowDown")
    wait_for_value(page, "comparator.case", "REAP")
    comparator.get_by_text("REAP: loss by domain").wait_for()
    page.keyboard.press("ArrowUp")  # the choice by keys goes on after the answer
    wait_for_value(page, "comparator.case", "usage")
    comparator.get_by_test_id("compression-group").select_option("router")
    wait_for_value(page, "comparator.group", "router")
    comparator.get_by_text("25.0 %").first.wait_for()
    assert kernel_value(page, "comparator.case") == "2 bits"
    assert comparator.get_by_test_id("compression-domains").is_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_words_can_be_read_and_stay_in_the_page(page, comparator, theme):
    set_theme(page, theme)
    assert comparator.evaluate(CONTRAST) >= 4.5
    assert comparator.get_by_test_id("compression-group").evaluate(CONTRAST) >= 4.5
    assert comparator.evaluate("e => e.scrollWidth <= e.clientWidth")
