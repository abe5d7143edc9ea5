"""The routing explorer in JupyterLab, used as a reader uses it; the kernel's state is read after
every step."""

import pytest
from playwright.sync_api import expect

from tests.browser.harness import (
    kernel_value,
    make_notebook,
    run_all,
    screenshot,
    set_theme,
    wait_for_value,
)

TEXT = "The list is sorted in place, and None is returned."
SET_UP = f"""
import torch
from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.text import load_tokenizer
torch.manual_seed(0)
model = LanguageModel(ModelConfig.preset("tiny", initializer_range=0.3))
explorer = explore(model, load_tokenizer(), {TEXT!r})
explorer
"""


@pytest.fixture
def explorer(lab, page):
    """A notebook with an explorer of a small random model; gives the page."""
    make_notebook(lab, page, "explorer.ipynb", SET_UP)
    assert run_all(page)
    page.get_by_test_id("token-0").wait_for()
    return page


def test_typing_choosing_and_switching_off(explorer, tmp_path):
    page = explorer
    area = page.get_by_role("textbox", name="Text")
    area.fill("")
    expect(page.get_by_test_id("strip")).to_contain_text("There is no text yet")
    area.press_sequentially("def f(x): return x  # 中 <b>&", delay=20)
    wait_for_value(page, "explorer.reading.text", "def f(x): return x  # 中 <b>&")
    tokens = kernel_value(page, "list(explorer.reading.labels)")
    expect(page.locator(".moe-token")).to_have_count(len(tokens))
    assert [label.text_content() for label in page.locator(".moe-token .moe-label").all()] == tokens

    page.get_by_role("slider", name="Layer").focus()
    page.keyboard.press("ArrowRight")
    wait_for_value(page, "explorer.layer", 1)
    shown = kernel_value(page, "explorer.reading.trace.layer(1).experts[0, :, 0].tolist()")
    expect(page.locator(".moe-number").last).to_have_text(str(shown[-1]))
    assert [number.text_content() for number in page.locator(".moe-number").all()] == [
        str(e) for e in shown
    ]
    page.get_by_role("button", name="2nd").click()
    wait_for_value(page, "explorer.rank", 2)

    page.get_by_test_id("token-2").click()
    wait_for_value(page, "explorer.selected['token']", 2)
    expect(page.get_by_test_id("detail")).to_contain_text("Expected here")
    scores = kernel_value(page, "explorer.reading.trace.layer(1).scores[0, 2].tolist()")
    expect(page.get_by_test_id("affinity-3").locator(".moe-value")).to_contain_text(
        f"{100 * scores[3]:.1f} %"
    )

    busiest = kernel_value(page, "explorer.reading.trace.load(1).argmax().item()")
    page.get_by_test_id(f"expert-{busiest}").click()
    wait_for_value(page, "explorer.selected['expert']", busiest)
    load = kernel_value(page, f"explorer.reading.trace.load(1)[{busiest}].item()")
    expect(page.locator(".moe-chooses")).to_have_count(load)

    page.get_by_test_id("toggle-expert").click()
    wait_for_value(page, "explorer.off", {1: (busiest,)})
    changed = kernel_value(page, "len(explorer.changes)")
    assert changed > 0
    expect(page.get_by_test_id("changes").locator("tbody tr")).to_have_count(changed)
    expect(page.get_by_test_id("summary")).to_contain_text("Switched off: layer 1")
    screenshot(page, tmp_path / "explorer.png")
    page.get_by_role("button", name="Switch all experts on").click()
    wait_for_value(page, "explorer.off", {})
    expect(page.get_by_test_id("changes")).to_be_hidden()


def test_by_keyboard_alone(explorer):
    page = explorer
    page.get_by_role("textbox", name="Text").focus()
    for _ in range(
        12
    ):  # slider, choice buttons, then the strip; "switch on" cannot be reached while all are on
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.testid ?? ''") == "token-0":
            break
    else:
        pytest.fail("Tab does not reach the first token")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_for_value(page, "explorer.selected['token']", 2)
    page.keyboard.press("End")
    page.keyboard.press("Space")
    last = kernel_value(page, "len(explorer.reading) - 1")
    wait_for_value(page, "explorer.selected['token']", last)
    expect(page.get_by_test_id(f"token-{last}")).to_be_focused()

    page.keyboard.press("Tab")
    expect(page.get_by_test_id("expert-0")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_value(page, "explorer.selected['expert']", 1)
    expect(page.get_by_test_id("expert-1")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_test_id("toggle-expert")).to_be_focused()
    page.keyboard.press("Enter")
    wait_for_value(page, "explorer.off", {0: (1,)})
    expect(page.get_by_test_id("toggle-expert")).to_be_focused()
    page.keyboard.press("Enter")
    wait_for_value(page, "explorer.off", {})
    assert (
        page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell").count() == 1
    )  # our keys made no cell


def test_code_moves_the_picture(explorer):
    page = explorer
    kernel_value(
        page, "[setattr(explorer, 'layer', 1), explorer.select_token(3), explorer.select_expert(2)]"
    )
    expect(page.get_by_test_id("token-3")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_test_id("expert-2")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_test_id("load")).to_contain_text("Layer 1: load of each expert")
    expect(page.get_by_test_id("summary")).to_have_text(kernel_value(page, "explorer.summary"))


def test_too_many_experts_off_is_said(explorer):
    page = explorer
    kernel_value(page, "explorer.switch_off(range(6))")
    page.get_by_test_id("expert-7").click()
    page.get_by_test_id("toggle-expert").click()
    expect(page.get_by_role("alert")).to_contain_text("at least 2 left")
    wait_for_value(page, "explorer.off", {0: (0, 1, 2, 3, 4, 5)})


def test_256_tokens_change_layer_without_lag_and_nothing_is_cut_off(explorer):
    page = explorer
    kernel_value(page, "setattr(explorer, 'text', 'The list is sorted in place. ' * 60)")
    expect(page.locator(".moe-token")).to_have_count(256)
    expect(page.get_by_test_id("note")).to_contain_text("only the first 256 are read")
    drawn = """async () => {
      const before = performance.now();
      document.querySelector('[data-testid="layer-1"]').click();
      const spent = performance.now() - before;
      await new Promise(requestAnimationFrame);
      return [spent, document.querySelector('[data-testid="load"] h4').textContent];
    }"""
    spent, heading = page.evaluate(drawn)
    assert (
        heading.startswith("Layer 1") and spent < 500
    )  # 100 ms are wanted; the test machine may be busy
    for theme, width in (("light", 1200), ("dark", 700)):
        set_theme(page, theme)
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        overflow = (
            "[...document.querySelectorAll('.moe-explorer, .moe-columns section, .moe-row, "
            ".moe-layer')]"
        )
        assert (
            page.evaluate(
                f"{overflow}.filter(e => e.scrollWidth > e.clientWidth + 2).map(e => e.className)"
            )
            == []
        )


def test_exported_page_works_from_a_file(explorer, browser, tmp_path):
    """Opened without a server: no request, no error, and layer, choice, token and expert can be
    chosen."""
    path = tmp_path / "page.html"
    kernel_value(explorer, f"str(explorer.save_html({str(path)!r}))")
    requests, errors = [], []
    page = browser.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.get_by_label("Layer", exact=True).select_option("1")
    page.get_by_label("Choice").select_option("2")
    expect(page.get_by_test_id("summary")).to_contain_text("Layer 1, 2nd choice")
    shown = kernel_value(explorer, "explorer.reading.trace.layer(1).experts[0, :, 1].tolist()")
    assert [number.text_content() for number in page.locator(".moe-number").all()] == [
        str(e) for e in shown
    ]
    page.get_by_test_id("token-3").click()
    expect(page.get_by_test_id("detail")).to_contain_text("Token 3")
    page.get_by_test_id("expert-0").click()
    expect(page.get_by_test_id("expert-0")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_test_id("toggle-expert")).to_have_count(0)
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    page.close()
    assert requests == [path.as_uri()] and errors == []
