"""JupyterLab starts, shows a widget, and the widget reaches the kernel: the ground of all browser
tests."""

import pytest

from tests.browser.harness import (
    kernel_eval,
    kernel_value,
    make_notebook,
    run_all,
    screenshot,
    set_theme,
    wait_for_value,
)

SLIDER = """
import ipywidgets as widgets
slider = widgets.IntSlider(value=3, min=0, max=10, description="Experts")
slider
"""


@pytest.fixture
def notebook(lab, page):
    """Puts a notebook of the given code cells into JupyterLab's folder and opens it."""

    def make(*cells: str) -> None:
        make_notebook(lab, page, "made_by_test.ipynb", *cells)

    return make


def test_slider_moved_by_keyboard_reaches_the_kernel(page, notebook):
    notebook(SLIDER)
    assert run_all(page)
    assert kernel_value(page, "slider.value") == 3
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wait_for_value(page, "slider.value", 5)


def test_run_all_reports_a_failing_cell(page, notebook):
    notebook("before = 1", "1 / 0", "after = 1")
    assert run_all(page) is False
    assert kernel_value(page, "before") == 1
    with pytest.raises(RuntimeError, match="NameError"):
        kernel_eval(page, "after")


def test_kernel_is_this_environments_python(page, notebook):
    import sys

    notebook("import sys")
    assert run_all(page)
    assert kernel_value(page, "sys.prefix") == sys.prefix


def test_no_news_and_no_other_toast(page, notebook):
    notebook("1 + 1")
    assert run_all(page)
    page.wait_for_timeout(1500)
    assert page.locator(".Toastify__toast").count() == 0


def test_follows_the_systems_theme(page, notebook, tmp_path):
    notebook("1 + 1")
    pictures = []
    for theme in ("light", "dark", "light"):
        set_theme(page, theme)
        screenshot(page, tmp_path / f"{len(pictures)}.png")
        pictures.append((tmp_path / f"{len(pictures)}.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_a_request_to_the_outside_is_noticed(page, notebook, watch):
    notebook("1 + 1")
    address = "https://example.invalid/script.js"
    assert (
        page.evaluate("url => fetch(url).then(() => 'came', () => 'refused')", address) == "refused"
    )
    assert watch.outside == [address]
    watch.outside.clear()
    watch.errors.clear()


def test_the_theme_can_be_changed_at_once_again(page, notebook, watch):
    """Without a pause between two changes JupyterLab itself logs an error: `set_theme` waits it
    out."""
    notebook("1")
    for theme in ("dark", "light") * 3:
        set_theme(page, theme)
    page.wait_for_timeout(300)
    assert watch.errors == []
