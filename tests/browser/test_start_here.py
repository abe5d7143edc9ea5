"""Notebook 00 as `course.py lab` opens it: its first cell, with the shipped checkpoint, used by
mouse and keyboard."""

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.harness import kernel_value, open_notebook, run_all, wait_for_value

NAME = "00_start_here.ipynb"


@pytest.fixture
def start(lab, page):
    """The notebook up to its first code cell, run."""
    path = lab.notebooks / NAME
    notebook = nbformat.read(path, as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells = notebook.cells[: first + 1]
    nbformat.write(notebook, path)
    open_notebook(page, NAME)
    assert run_all(page)
    page.get_by_test_id("token-0").wait_for()
    return page


def test_type_click_and_switch_off(start):
    page = start
    assert kernel_value(page, "model.config.n_routed_experts") == 16
    area = page.get_by_role("textbox", name="Text")
    area.fill("")
    area.press_sequentially("import json", delay=20)
    wait_for_value(page, "explorer.reading.text", "import json")
    page.get_by_test_id("token-1").click()
    wait_for_value(page, "explorer.selected['token']", 1)
    page.get_by_role("slider", name="Layer").focus()
    page.keyboard.press("ArrowRight")
    wait_for_value(page, "explorer.layer", 2)
    chosen = kernel_value(page, "explorer.reading.trace.layer(2).experts[0, 1, 0].item()")
    expect(page.get_by_test_id("token-1").locator(".moe-number")).to_have_text(str(chosen))
    page.get_by_test_id(f"expert-{chosen}").click()
    page.get_by_test_id("toggle-expert").click()
    wait_for_value(page, "explorer.off", {2: (chosen,)})
    assert kernel_value(page, f"explorer.reading.trace.load(2)[{chosen}].item()") == 0


def test_512_tokens_change_layer_without_lag(start):
    page = start
    kernel_value(page, "setattr(explorer, 'text', 'The list is sorted in place. ' * 120)")
    expect(page.locator(".moe-token")).to_have_count(512)
    spent = page.evaluate("""() => {
      const before = performance.now();
      document.querySelector('[data-testid="layer-3"]').click();
      return performance.now() - before;
    }""")
    expect(page.get_by_test_id("load")).to_contain_text("Layer 3: load of each expert")
    print(f"512 tokens: a change of layer takes {spent:.0f} ms")
    assert spent < 1000  # 100 ms are wanted; the test machine may be busy
