"""The balance dashboard in JupyterLab: a slider moved in mid-run, the kernel answering meanwhile,
runs side by side."""

import pytest
from playwright.sync_api import expect

from tests.browser.harness import (
    CONTRAST,
    kernel_value,
    open_widget,
    set_theme,
    wait_for_value,
)

CELL = """
import torch
from moe_lib import ModelConfig
from moe_lib.views.balance_dashboard.widget import BalanceDashboard

torch.set_num_threads(1)

class Batches:
    def at(self, step):
        ids = torch.randint(0, 20, (8, 16), generator=torch.Generator().manual_seed(step))
        return {"input_ids": ids, "labels": ids}

config = ModelConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, n_routed_experts=4,
                     moe_intermediate_size=8, router="biased_topk")
dashboard = BalanceDashboard(config, Batches(), steps=100_000)
dashboard
"""
STEPS = "dashboard.training.steps_done"


@pytest.fixture
def dashboard(lab, page):
    return open_widget(lab, page, "balance-dashboard", CELL)


def wait_for_steps(page, more):
    target = kernel_value(page, STEPS) + more
    wait_for_value(page, f"{STEPS} >= {target}", True)
    return target


def test_a_slider_moved_in_mid_run_reaches_the_training_while_steps_go_on(page, dashboard):
    dashboard.get_by_test_id("balance-cure-auxiliary").check()
    dashboard.get_by_test_id("balance-start").press("Enter")
    wait_for_value(page, "dashboard.state", "running")
    wait_for_steps(page, 5)

    slider = dashboard.get_by_test_id("balance-alpha")
    slider.focus()
    page.keyboard.press("ArrowRight")  # 0.1 -> 0.3
    wait_for_value(page, "dashboard.alpha", 0.3)
    wait_for_value(page, "dashboard.runs[0].column('aux_loss_alpha')[-1]", 0.3)
    values = kernel_value(page, "dashboard.runs[0].column('aux_loss_alpha')")
    assert values[0] == 0.1 and values.index(0.3) >= 5, "the run began with the old value"
    wait_for_steps(page, 5)  # the kernel answers, and the training goes on
    assert kernel_value(page, "dashboard.state") == "running"
    assert slider.get_attribute("aria-valuetext") == "0.3"

    dashboard.get_by_test_id("balance-cure-bias").check()
    wait_for_value(page, "dashboard.runs[0].column('bias_update_speed')[-1] > 0", True)
    wait_for_steps(page, 2)
    page.wait_for_function(  # what the page draws follows the training, without a question from it
        "document.querySelector('[data-testid=balance-done]').textContent.match(/step "
        "(\\d+)/)[1] > 10"
    )
    # The title comes with the view, a moment after the steps that it speaks of.
    expect(dashboard.get_by_test_id("balance-run-1")).to_contain_text(
        "auxiliary loss 0.3 per sequence → bias"
    )

    dashboard.get_by_test_id("balance-pause").click()
    wait_for_value(page, "dashboard.state", "paused")
    held = kernel_value(page, STEPS)
    page.wait_for_timeout(300)
    assert kernel_value(page, STEPS) == held
    assert "paused" in dashboard.get_by_test_id("balance-status").text_content()
    dashboard.get_by_test_id("balance-pause").click()
    wait_for_steps(page, 2)
    dashboard.get_by_test_id("balance-stop").click()
    wait_for_value(page, "dashboard.state", "stopped")
    wait_for_value(
        page,
        "any('moe_lib' in thread.name for thread in __import__('threading').enumerate())",
        False,
    )


def test_runs_side_by_side_read_by_keyboard_in_both_themes(page, dashboard):
    for _ in range(2):
        kernel_value(page, "dashboard.start('none')")
        wait_for_steps(page, 8)
        kernel_value(page, "dashboard.stop()")
    for number in (1, 2):
        dashboard.get_by_test_id(f"balance-map-run-{number}-1").wait_for()
    widths = {
        dashboard.get_by_test_id(f"balance-map-run-{n}-1").evaluate("c => c.width") for n in (1, 2)
    }
    assert len(widths) == 1, "the same axis for both"
    tops = {
        round(dashboard.get_by_test_id(f"balance-map-run-{n}-1").bounding_box()["y"])
        for n in (1, 2)
    }
    assert len(tops) == 1, "one beside the other"

    dashboard.get_by_test_id("balance-map-run-2-1").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    share = kernel_value(page, "round(dashboard.runs[1].shares()[2, 1, 1].item(), 2)")
    said = dashboard.get_by_test_id("balance-run-2").locator(".moe-balance-readout").text_content()
    assert said == f"Layer 1, step 3, expert 1: {share:.2f} times an even share."

    for theme in ("dark", "light"):
        set_theme(page, theme)
        assert dashboard.evaluate(CONTRAST) >= 4.5
        assert dashboard.get_by_test_id("balance-start").evaluate(CONTRAST) >= 4.5
    dashboard.get_by_test_id("balance-show-0").uncheck()
    wait_for_value(page, "[run.name for run in dashboard.shown]", ["run 2"])
    dashboard.get_by_test_id("balance-run-1").wait_for(state="detached")
    dashboard.get_by_test_id("balance-forget-0").click()
    wait_for_value(page, "[run.name for run in dashboard.runs]", ["run 2"])
    assert "run 2" in dashboard.get_by_test_id("balance-run-2").text_content()


def test_a_failing_training_says_so_on_the_page(page, dashboard):
    kernel_value(page, "setattr(Batches, 'at', lambda self, step: {}[step])")
    dashboard.get_by_test_id("balance-start").click()
    wait_for_value(page, "dashboard.state", "failed")
    alert = dashboard.get_by_role("alert")
    page.wait_for_function("document.querySelector('.moe-balance-problem').textContent !== ''")
    assert "KeyError: 0" in alert.text_content()
    assert dashboard.get_by_test_id("balance-start").is_enabled()
