"""The expert-cache player in JupyterLab: stepped, played and set by mouse and keyboard."""

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
from moe_lib import RoutingTrace
from moe_lib.views.expert_cache import ExpertCachePlayer

noise = torch.rand(40, 2, 8, generator=torch.Generator().manual_seed(0))
player = ExpertCachePlayer(RoutingTrace.from_arrays(noise.topk(2).indices, n_experts=8), num_slots=4)
player
"""


@pytest.fixture
def player(lab, page):
    return open_widget(lab, page, "expert-cache", CELL)


def test_it_is_stepped_played_and_set(page, player):
    player.get_by_test_id("cache-step").focus()
    page.keyboard.press("Enter")
    wait_for_value(page, "player.token", 2)
    player.get_by_test_id("cache-place").focus()
    page.keyboard.press("ArrowRight")
    wait_for_value(page, "player.token", 3)
    player.get_by_test_id("cache-back").click()
    wait_for_value(page, "player.token", 2)
    player.get_by_test_id("cache-play").click()
    wait_for_value(page, "player.token > 3", True)
    player.get_by_text("Pause").click()
    player.get_by_test_id("cache-policy").select_option("belady")
    wait_for_value(page, "player.policy", "belady")
    player.get_by_test_id("cache-num_slots").select_option("8")
    wait_for_value(page, "player.num_slots", 8)
    own = float(kernel_value(page, "player.rates['own']"))
    rate = f"{100 * own:.1f} %"
    player.get_by_test_id("cache-rate-own").get_by_text(rate).wait_for()
    assert player.get_by_test_id("cache-prefetch").is_disabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_words_can_be_read_and_stay_in_the_page(page, player, theme):
    set_theme(page, theme)
    assert player.evaluate(CONTRAST) >= 4.5
    assert player.evaluate("e => e.scrollWidth <= e.clientWidth")
