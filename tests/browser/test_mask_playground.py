"""The mask playground in JupyterLab: pressed with the mouse and by keyboard, typed into, in both
themes."""

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
from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import load_tokenizer
from moe_lib.views.mask_playground.widget import MaskPlayground
torch.manual_seed(0)
model = LanguageModel(ModelConfig.preset("tiny", causal=False, initializer_range=0.2)).eval()
playground = MaskPlayground(model, load_tokenizer(), "The key is not found.")
playground
"""


@pytest.fixture
def playground(lab, page):
    return open_widget(lab, page, "mask-playground", CELL)


def test_mouse_keyboard_and_typing_reach_the_kernel(page, playground):
    playground.get_by_test_id("mask-word-1").click()
    wait_for_value(page, "playground.masked", [1])
    playground.get_by_test_id("mask-card-0").wait_for()
    assert playground.get_by_test_id("mask-word-1").get_attribute("aria-pressed") == "true"

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_for_value(page, "playground.masked", [1, 3])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    wait_for_value(page, "playground.masked", [1, 3, 4])
    page.wait_for_function("document.querySelectorAll('.moe-mask-card').length == 3")
    shown = playground.get_by_test_id("mask-card-0").locator(".moe-mask-value").all_text_contents()
    expected = kernel_value(
        page, "[round(100 * p, 1) for p in playground.predictions[0].probabilities]"
    )
    assert [float(text.removesuffix(" %")) for text in shown[:5]] == expected
    assert "3 words masked" in playground.get_by_test_id("mask-summary").text_content()

    playground.get_by_test_id("mask-text").fill("Oh, <b>the</b> key is not found.")
    wait_for_value(
        page, "[playground.words[n].text for n in playground.masked]", ["key", "not", "found"]
    )
    assert playground.locator("b").count() == 0, "typed text is never taken for HTML"
    playground.get_by_test_id("mask-clear").press("Enter")
    wait_for_value(page, "playground.masked", [])


def test_code_moves_the_page_and_colours_hold_in_both_themes(page, playground):
    kernel_value(page, "playground.mask([2])")
    word = playground.get_by_test_id("mask-word-2")
    page.wait_for_selector("[data-testid='mask-word-2'][aria-pressed='true']")
    for theme in ("dark", "light"):
        set_theme(page, theme)
        assert word.evaluate(CONTRAST) >= 4.5
        assert playground.get_by_test_id("mask-word-0").evaluate(CONTRAST) >= 4.5
        assert playground.evaluate(CONTRAST) >= 4.5
    assert playground.get_by_role("button", name="is, 1 token, masked").count() == 1
    assert playground.get_by_role("textbox").count() == 1
