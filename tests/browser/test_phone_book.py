"""The phone book in JupyterLab: chosen from, trained, watched and stopped, by mouse and keyboard, in
both themes."""

import pytest

from tests.browser.harness import (
    CONTRAST,
    kernel_value,
    open_widget,
    set_theme,
    wait_for_value,
)

# Made-up facts: these tests are about the page. A run ends when told to, or when the test says so.
CELL = """
import threading, time
from moe_lib.views.phone_book.recall import Recall
from moe_lib.views.phone_book.widget import PhoneBookRace

go, asked = threading.Event(), []

def side(name, facts, step, every):
    known = [fact % every == 0 for fact in range(facts)]
    return Recall(name, step, 300, known, 0.5, 19464, 11784)

def run(facts, experts, chosen, report):
    asked.append((facts, experts, chosen))
    for step in range(1, 300):
        if report([side("dense", facts, step, 4), side(f"{experts} experts", facts, step, 1)]) or go.wait(0.05):
            return

race = PhoneBookRace(run, facts=1024, experts=8)
race
"""
# Squares of a grid that are drawn in a colour of their own (not the ink of the page).
LIT = """canvas => {
  const pen = canvas.getContext('2d'), cell = 6;
  let lit = 0;
  for (let y = 2; y < canvas.height; y += cell)
    for (let x = 1; x < canvas.width; x += cell)
      lit += pen.getImageData(x, y, 1, 1).data[3] === 255;
  return lit;
}"""


@pytest.fixture
def race(lab, page):
    return open_widget(lab, page, "phone-book", CELL)


def test_facts_light_up_and_a_run_is_stopped_by_keyboard(page, race):
    assert "not trained yet" in race.get_by_test_id("phone-numbers-0").text_content()
    assert race.get_by_test_id("phone-grid-0").evaluate(LIT) == 0
    race.get_by_test_id("phone-facts").select_option("2048")
    wait_for_value(page, "race.facts", 2048)
    race.get_by_test_id("phone-chosen").focus()
    page.keyboard.press("ArrowDown")
    wait_for_value(page, "race.chosen", 4)
    start, stop = (race.get_by_test_id(f"phone-{name}") for name in ("start", "stop"))
    assert stop.is_disabled()
    start.focus()
    page.keyboard.press("Enter")
    race.get_by_text("100.0 % recalled").wait_for()
    assert kernel_value(page, "asked") == [(2048, 8, 4)]
    assert start.is_disabled() and race.get_by_test_id("phone-facts").is_disabled()
    assert race.get_by_test_id("phone-grid-0").evaluate(LIT) == 512
    assert race.get_by_test_id("phone-grid-1").evaluate(LIT) == 2048
    assert "25.0 % recalled, 512 of 2,048 facts" in (
        race.get_by_test_id("phone-grid-0").get_attribute("aria-label")
    )
    stop.focus()
    page.keyboard.press("Enter")
    wait_for_value(page, "race.state", "stopped")
    race.get_by_text("Stopped.").wait_for()
    assert start.is_enabled() and race.get_by_test_id("phone-line-1").count() == 1
    told = kernel_value(page, "race.view['summary']")
    assert race.get_by_test_id("phone-summary").text_content() == told


def test_what_does_not_fit_is_greyed_and_colours_hold_in_both_themes(page, race):
    race.get_by_test_id("phone-experts").select_option("2")
    wait_for_value(page, "race.experts", 2)
    page.wait_for_function(
        "document.querySelector('[data-testid=phone-chosen] option[value=\"4\"]').disabled"
    )
    assert kernel_value(page, "race.receive({'chosen': 8})").startswith("chosen: got 8")
    race.get_by_role("alert").get_by_text("at most the experts there are (2)").wait_for()
    kernel_value(page, "go.set()")
    kernel_value(page, "race.start()")
    wait_for_value(page, "race.state", "finished")
    race.get_by_text("Finished.").wait_for()
    for theme in ("dark", "light"):
        set_theme(page, theme)
        assert race.evaluate(CONTRAST) >= 4.5
        assert race.get_by_test_id("phone-start").evaluate(CONTRAST) >= 4.5
        assert race.get_by_test_id("phone-grid-0").evaluate(LIT) == 256
