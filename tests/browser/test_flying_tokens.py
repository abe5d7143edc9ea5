"""Flying tokens in JupyterLab: stepped, played and spread anew, by mouse and keyboard."""

import pytest

from tests.browser.harness import (
    CONTRAST,
    kernel_value,
    open_widget,
    set_theme,
    wait_for_value,
)

CELL = """
import torch
from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.views.flying_tokens import FlyingTokens

torch.manual_seed(0)
model = LanguageModel(ModelConfig.preset("tiny")).eval()
flying = FlyingTokens(trace_routing(model, torch.arange(12)[None]), labels=["<b>x</b>"] * 12)
flying
"""


@pytest.fixture
def flying(lab, page):
    return open_widget(lab, page, "flying-tokens", CELL)


def test_a_token_flies_at_a_time_and_the_kernel_is_told(page, flying):
    flying.get_by_test_id("flying-again").click()
    wait_for_value(page, "flying.at", 0)
    flying.get_by_text("None has flown yet").wait_for()
    flying.get_by_test_id("flying-step").click()
    wait_for_value(page, "flying.at", 1)
    assert flying.get_by_test_id("flying-place").inner_text() == "1 of 12"
    assert flying.get_by_text("<b>x</b>").count() >= 1  # shown as text
    flying.get_by_test_id("flying-at").focus()
    page.keyboard.press("End")
    wait_for_value(page, "flying.at", 12)
    flying.get_by_test_id("flying-play").click()  # from the start
    page.wait_for_timeout(1600)
    flying.get_by_test_id("flying-play").click()
    page.wait_for_timeout(300)
    assert 1 <= kernel_value(page, "flying.at") < 12


def test_no_step_is_lost_to_a_reader_who_is_faster_than_the_kernel(page, flying):
    flying.get_by_test_id("flying-again").click()
    wait_for_value(page, "flying.at", 0)
    flying.get_by_test_id("flying-step").evaluate(
        "async e => { for (let n = 0; n < 8; n += 1) "
        "{ e.click(); await new Promise(done => setTimeout(done, 40)); } }"
    )
    wait_for_value(page, "flying.at", 8)
    assert flying.get_by_test_id("flying-place").inner_text() == "8 of 12"


def test_devices_limits_and_copies_are_chosen(page, flying):
    flying.get_by_test_id("flying-devices").select_option("4")
    wait_for_value(page, "flying.devices", 4)
    flying.get_by_test_id("flying-limit").select_option("1")
    wait_for_value(page, "flying.limit", 1)
    flying.get_by_test_id("flying-copies").select_option("4")
    wait_for_value(page, "flying.copies", 4)
    rows = flying.get_by_test_id("flying-links").locator("tbody tr")
    assert rows.count() == 4


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_words_can_be_read_and_stay_in_the_page(page, flying, theme):
    set_theme(page, theme)
    assert flying.evaluate(CONTRAST) >= 4.5
    assert flying.get_by_test_id("flying-devices").evaluate(CONTRAST) >= 4.5
    assert flying.evaluate("e => e.scrollWidth <= e.clientWidth")
