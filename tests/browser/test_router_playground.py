"""The router playground in JupyterLab: dragged, moved by keyboard, its controls used, in both
themes."""

import pytest

from tests.browser.harness import CONTRAST, kernel_value, open_widget, set_theme, wait_for_value

CELL = """
from moe_lib.views.router_playground.widget import RouterPlayground
playground = RouterPlayground("topk", capacity_factor=1.0)
playground
"""


@pytest.fixture
def playground(lab, page):
    return open_widget(lab, page, "router-playground", CELL)


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def shape(playground, token):
    return playground.get_by_test_id(f"router-token-{token}").locator("rect")


def fill(playground, token):
    return shape(playground, token).evaluate("shape => getComputedStyle(shape).fill")


def test_tokens_and_experts_are_dragged_with_the_mouse(page, playground):
    token, expert = (
        playground.get_by_test_id(f"router-{name}") for name in ("token-2", "expert-0")
    )
    before = fill(playground, 2)
    x, y = middle(token)
    goal_x, goal_y = middle(playground.get_by_test_id("router-token-0"))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move((x + goal_x) / 2, (y + goal_y) / 2)
    page.mouse.move(goal_x, goal_y, steps=12)
    page.mouse.up()
    experts = "playground.result.routing.experts"
    wait_for_value(page, f"{experts}[2].tolist() == {experts}[0].tolist()", True)
    (moved_x, moved_y), (other_x, other_y) = kernel_value(
        page, "playground.tokens[2], playground.tokens[0]"
    )
    assert abs(moved_x - other_x) < 0.06 and abs(moved_y - other_y) < 0.06
    wait_for_value(page, "playground.selected", 2)
    page.wait_for_function(
        "([two, other]) => getComputedStyle(two).fill === getComputedStyle(other).fill",
        arg=[shape(playground, number).element_handle() for number in (2, 0)],
    )
    assert fill(playground, 2) != before

    x, y = middle(expert)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 3000, y + 20, steps=3)  # beyond the edge
    page.mouse.up()
    wait_for_value(page, "playground.experts[0][0]", -2.84)


def test_keyboard_moves_what_tab_reaches(page, playground):
    page.get_by_test_id("router-expert-5").focus()
    page.keyboard.press("Tab")
    wait_for_value(page, "playground.selected", 0)
    x, y = kernel_value(page, "playground.tokens[0]")
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp", "Shift+ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    wait_for_value(page, "playground.tokens[0]", [round(x + 0.6, 2), round(y - 0.9, 2)])
    page.keyboard.press("Tab")
    wait_for_value(page, "playground.selected", 1)
    page.wait_for_selector("[data-testid='router-token-1'].moe-router-selected")
    label = page.get_by_test_id("router-token-1").get_attribute("aria-label")
    assert label.startswith("Token 1, “cat”") and "expert" in label
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    wait_for_value(page, "playground.experts[5][1]", -1.0)


def test_controls_reach_the_kernel_and_the_picture_follows(page, playground):
    summary = playground.get_by_test_id("router-summary")
    playground.get_by_test_id("router-capacity").press("Home")
    wait_for_value(page, "playground.capacity_factor", 0.25)
    room = kernel_value(page, "playground.result.capacity")
    page.wait_for_function(
        "document.querySelector('[data-testid=router-summary]').textContent.includes('room "
        f"for {room}')"
    )
    dropped = kernel_value(
        page, "sum(any(not kept for _, _, kept in c) for c in playground.view['choices'])"
    )
    assert playground.locator(".moe-router-dropped").count() == dropped > 0
    loads = [
        playground.get_by_test_id(f"router-load-{e}").locator(".moe-router-value").text_content()
        for e in range(6)
    ]
    assert [int(text.split()[0]) for text in loads] == kernel_value(
        page, "playground.result.routing.kept_load().tolist()"
    )

    playground.get_by_test_id("router-method").select_option("biased_topk")
    bias = playground.get_by_test_id("router-bias-0")
    bias.wait_for(state="visible")
    bias.press("Home")
    wait_for_value(page, "(playground.method, playground.selection_bias[0])", ("biased_topk", -1.0))
    wait_for_value(page, "playground.result.routing.load()[0].item()", 0)
    playground.get_by_test_id("router-training").uncheck()
    wait_for_value(page, "playground.training", False)
    playground.get_by_test_id("router-method").select_option("expert_choice")
    page.get_by_text("No regions are drawn").wait_for()
    assert playground.get_by_test_id("router-capacity").is_disabled()
    playground.get_by_test_id("router-reset").click()
    wait_for_value(
        page,
        "(playground.method, playground.training, playground.selection_bias[0])",
        ("topk", True, 0.0),
    )
    page.wait_for_function("document.querySelector('[data-testid=router-method]').value === 'topk'")
    assert summary.text_content() == kernel_value(page, "playground.summary")


def test_code_moves_the_page_and_colours_hold_in_both_themes(page, playground):
    kernel_value(page, "setattr(playground, 'method', 'switch')")
    page.wait_for_function(
        "document.querySelector('[data-testid=router-method]').value === 'switch'"
    )
    for theme in ("dark", "light"):
        set_theme(page, theme)
        assert playground.evaluate(CONTRAST) >= 4.5
        for expert in range(6):
            badge = playground.get_by_test_id(f"router-load-{expert}").locator(".moe-router-badge")
            assert badge.evaluate(CONTRAST) >= 4.5
            inks = (
                playground.get_by_test_id(f"router-expert-{expert}")
                .locator("text")
                .evaluate("text => getComputedStyle(text).fill")
            )
            assert inks == badge.evaluate("badge => getComputedStyle(badge).color")
    ground = (
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, "
        "c.height).data).some(value => value > 0)"
    )
    assert playground.get_by_test_id("router-regions").evaluate(ground)
    kernel_value(page, "setattr(playground, 'method', 'hash')")
    page.get_by_text("No regions are drawn").wait_for()
    assert not playground.get_by_test_id("router-regions").evaluate(ground)
