"""The parameter explorer in JupyterLab: moved by keyboard and mouse, from code, in both themes."""

import pytest

from tests.browser.harness import kernel_value, open_widget, set_theme, wait_for_value

CELL = """
from moe_lib.views.parameter_explorer.widget import ParameterExplorer
explorer = ParameterExplorer("Mixtral 8x7B")
explorer
"""


@pytest.fixture
def explorer(lab, page):
    return open_widget(lab, page, "parameter-explorer", CELL)


def test_keyboard_and_mouse_reach_the_kernel_and_back(page, explorer):
    experts = explorer.get_by_role("slider", name="Experts per token, k")
    experts.focus()
    page.keyboard.press("ArrowRight")
    wait_for_value(page, "explorer.sizes.num_experts_per_tok", 3)
    page.keyboard.press("End")
    wait_for_value(page, "explorer.sizes.num_experts_per_tok", 8)
    assert experts.get_attribute("aria-valuetext") == "8 (published: 2)"

    batch = explorer.get_by_role("slider", name="Tokens in the batch")
    batch.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_for_value(page, "explorer.batch_size", 16)
    explorer.get_by_label("int4").check()
    wait_for_value(page, "explorer.precision", "int4")
    page.wait_for_function(
        "document.querySelector('[data-testid=par-summary]').textContent.includes('16 tokens')"
    )
    assert explorer.get_by_test_id("par-summary").text_content() == kernel_value(
        page, "explorer.summary"
    )

    explorer.get_by_test_id("par-reset").click()
    wait_for_value(page, "explorer.changed", {})
    explorer.get_by_test_id("par-model").select_option("DeepSeek-V3")
    wait_for_value(page, "explorer.model", "DeepSeek-V3")
    explorer.get_by_test_id("par-total-stored").get_by_text("671.0B").wait_for()
    explorer.get_by_role("slider", name="Routed experts, E").focus()
    page.keyboard.press("Home")
    wait_for_value(
        page, "[explorer.sizes.n_routed_experts, explorer.sizes.num_experts_per_tok]", [1, 1]
    )


def test_code_moves_the_page_in_both_themes(page, explorer):
    kernel_value(page, "explorer.set(model='OLMoE-1B-7B', batch_size=128)")
    explorer.get_by_test_id("par-title").get_by_text("OLMoE-1B-7B").wait_for()
    assert explorer.get_by_test_id("par-value-batch_size").text_content() == "128"
    assert (
        explorer.get_by_role("img")
        .get_attribute("aria-label")
        .startswith("A batch of 128 touches 64.0")
    )
    for theme in ("dark", "light"):
        set_theme(page, theme)
        ink, ground = explorer.evaluate(
            "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        )
        assert ink != ground and explorer.get_by_role("slider").count() == 5
