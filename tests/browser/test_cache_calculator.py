"""The cache calculator in JupyterLab: moved by keyboard and mouse, from code, in both themes."""

from tests.browser.harness import kernel_value, make_notebook, run_all, set_theme, wait_for_value

CELL = """
from moe_lib.views.cache_calculator.widget import CacheCalculator
calculator = CacheCalculator("DeepSeek-V2", context=131_072)
other = CacheCalculator("DeepSeek 67B")
display(calculator, other)
"""


def test_keyboard_mouse_and_code_agree_in_both_themes(lab, page):
    make_notebook(lab, page, "cache_calculator.ipynb", CELL)
    assert run_all(page)
    page.get_by_test_id("cache-calculator").nth(1).wait_for()
    calculator, other = page.get_by_test_id("cache-calculator").all()
    assert calculator.get_by_test_id("cache-total-MHA").text_content() == "515 GB"

    context = calculator.get_by_role("slider", name="Tokens per sequence")
    context.focus()
    page.keyboard.press("ArrowLeft")
    wait_for_value(page, "calculator.context", 65_536)
    page.keyboard.press("Home")
    wait_for_value(page, "calculator.context", 256)
    assert context.get_attribute("aria-valuetext") == "256"
    calculator.get_by_label("6 bits").check()
    wait_for_value(page, "calculator.precision", "6 bits")
    calculator.get_by_label("GQA", exact=True).check()
    wait_for_value(page, "calculator.kind", "GQA")
    page.wait_for_function(
        "document.querySelector('[data-testid=cache-summary]').textContent.includes('GQA (8 "
        "groups):')"
    )
    assert calculator.get_by_test_id("cache-summary").text_content() == kernel_value(
        page, "calculator.summary"
    )

    assert not calculator.get_by_role("slider", name="Layers").is_visible()
    calculator.get_by_text("Sizes of your own").click()
    calculator.get_by_role("slider", name="Heads", exact=True).focus()
    page.keyboard.press("Home")
    wait_for_value(
        page, "[calculator.sizes.num_attention_heads, calculator.sizes.num_key_value_heads]", [1, 1]
    )
    calculator.get_by_test_id("cache-reset").click()
    wait_for_value(page, "[calculator.changed, calculator.kind]", [{}, "MLA"])
    calculator.get_by_test_id("cache-model").select_option("DeepSeek 67B")
    wait_for_value(page, "[calculator.model, calculator.kind]", ["DeepSeek 67B", "GQA"])

    kernel_value(page, "calculator.set(model='Mixtral 8x7B', batch_size=16)")
    calculator.get_by_test_id("cache-title").get_by_text("Mixtral 8x7B").wait_for()
    assert calculator.get_by_test_id("cache-value-batch_size").text_content() == "16"
    for theme in ("dark", "light"):
        set_theme(page, theme)
        ink, ground = calculator.evaluate(
            "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        )
        assert ink != ground and calculator.get_by_role("radio").count() == 9
