"""Comparing two texts and changing k in the explorer in JupyterLab, by keyboard; and the page of a
comparison."""

import re

from playwright.sync_api import expect

from tests.browser.harness import kernel_value, make_notebook, run_all, set_theme, wait_for_value

TEXT = "The list is sorted in place, and None is returned."
OTHER = "for row in table: print(row)"
SET_UP = f"""
import torch
from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.text import load_tokenizer
torch.manual_seed(0)
model = LanguageModel(ModelConfig.preset("tiny", initializer_range=0.3, n_shared_experts=1))
explorer = explore(model, load_tokenizer(), {TEXT!r})
explorer
"""
IN_BOTH = re.compile(r"chosen \d+ times.*of the choices, in the second \d+ %")
NUMBERS = "explorer.{reading}.trace.layer(explorer.layer).experts[0, :, 0].tolist()"


def focused(page) -> str:
    return page.evaluate(
        "document.activeElement.dataset.testid ?? document.activeElement.textContent"
    )


def tab_to(page, wanted: str, most: int = 14) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted in focused(page):
            return
    raise AssertionError(f"Tab does not reach {wanted!r}")


def shown_numbers(page, name: str) -> list[int]:
    texts = page.get_by_test_id(name).locator(".moe-number").all_text_contents()
    return [int(text.split()[0]) for text in texts]


def test_compare_and_change_k_by_keyboard(lab, page, browser, tmp_path):
    make_notebook(lab, page, "compare.ipynb", SET_UP)
    assert run_all(page)
    page.get_by_test_id("token-0").wait_for()
    expect(page.get_by_test_id("comparing")).to_be_hidden()
    expect(page.get_by_role("textbox", name="Other")).to_be_hidden()

    change_k(page)
    compare_texts(page)
    nothing_is_cut_off(page)
    path = tmp_path / "page.html"
    kernel_value(page, f"str(explorer.save_html({str(path)!r}))")
    the_page_holds_both(page, browser, path)


def change_k(page) -> None:
    page.get_by_role("slider", name="Experts per token").focus()
    page.keyboard.press("ArrowRight")
    wait_for_value(page, "explorer.k", 3)
    changed = kernel_value(page, "len(explorer.changes)")
    card = page.get_by_test_id("changes")
    expect(card).to_contain_text("What if: 3 experts per token instead of 2")
    expect(card.locator("tbody tr")).to_have_count(changed)
    losses = kernel_value(
        page, "[-explorer.baseline.mean_log_probability, -explorer.reading.mean_log_probability]"
    )
    for loss in losses:
        expect(page.get_by_test_id("loss")).to_contain_text(f"{loss:.3f}")
    page.get_by_test_id("token-4").click()
    wait_for_value(page, "explorer.selected['token']", 4)
    best = kernel_value(
        page, "[one.predictions[4].labels[0] for one in (explorer.baseline, explorer.reading)]"
    )
    first = (
        page.get_by_test_id("detail")
        .locator(".moe-beside")
        .first.locator("li:first-child .moe-label")
    )
    expect(first).to_have_text(best)
    page.get_by_role("slider", name="Experts per token").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_value(page, "explorer.k", 2)
    expect(card).to_be_hidden()


def compare_texts(page) -> None:
    tab_to(page, "Compare with another text")
    page.keyboard.press("Space")
    area = page.get_by_role("textbox", name="Other")
    expect(area).to_be_visible()
    expect(page.get_by_test_id("comparing")).to_contain_text("nothing to compare")
    area.press_sequentially(OTHER)
    wait_for_value(page, "explorer.compared.text", OTHER)
    words = kernel_value(page, "explorer.summary")
    expect(page.get_by_test_id("summary")).to_have_text(words)
    distance = kernel_value(page, "explorer.comparison.layer(explorer.layer).total_variation")
    expect(page.get_by_test_id("comparison").locator("td").first).to_have_text(f"{distance:.2f}")
    for name, reading in (("strip", "reading"), ("second-strip", "compared")):
        assert shown_numbers(page, name) == kernel_value(page, NUMBERS.format(reading=reading))

    page.get_by_test_id("token-0").focus()
    tab_to(page, "second-token-0", 3)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_for_value(page, "(explorer.panel.side, explorer.panel.token)", (1, 1))
    expect(page.get_by_test_id("detail").locator("h4")).to_contain_text("of Second text")
    expect(page.get_by_test_id("second-token-1")).to_be_focused()
    expect(page.get_by_test_id("expert-0")).to_have_attribute("aria-label", IN_BOTH)
    kernel_value(page, f"setattr(explorer, 'compare_text', {TEXT!r})")
    expect(page.get_by_test_id("comparison")).to_contain_text("100 %")
    marks = page.get_by_test_id("second-strip").locator(".moe-number").all_text_contents()
    assert marks and all(mark.endswith("=") for mark in marks)


def nothing_is_cut_off(page) -> None:
    parts = (
        "[...document.querySelectorAll('.moe-explorer, .moe-columns section, .moe-row, "
        ".moe-layer, .moe-reading')]"
    )
    for theme, width in (("light", 1200), ("dark", 700)):
        set_theme(page, theme)
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        too_wide = f"{parts}.filter(e => e.scrollWidth > e.clientWidth + 2).map(e => e.className)"
        assert page.evaluate(too_wide) == []


def the_page_holds_both(page, browser, path) -> None:
    requests, errors = [], []
    file = browser.new_page()
    file.on("request", lambda request: requests.append(request.url))
    file.on("pageerror", lambda error: errors.append(str(error)))
    file.goto(path.as_uri())
    expect(file.get_by_test_id("second-strip")).to_be_visible()
    file.get_by_label("Layer", exact=True).select_option(index=1)
    expect(file.get_by_test_id("summary")).to_contain_text(
        "“First text” against “Second text”, layer 1"
    )
    kernel_value(page, "setattr(explorer, 'layer', 1)")
    assert shown_numbers(file, "second-strip") == kernel_value(
        page, NUMBERS.format(reading="compared")
    )
    expect(file.locator("body")).to_contain_text("that needs the notebook")
    file.close()
    assert requests == [path.as_uri()] and errors == []
