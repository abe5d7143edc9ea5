"""The fine-tuning comparator and the try-out box in JupyterLab: chosen, run, stopped, typed into,
in both themes."""

import pytest

from tests.browser.harness import (
    CONTRAST,
    kernel_value,
    make_notebook,
    run_all,
    set_theme,
    wait_for_value,
)

# Made-up numbers and answers: these tests are about the page. The notebook's folder is elsewhere,
# so the cell is told where the made-up comparisons live.
COMPARATOR = """
import sys, threading
sys.path.insert(0, {root!r})
from tests.views.comparisons import made_up
from moe_lib.views.tuning_comparator.widget import TuningComparator

go, steps = threading.Event(), []

def run(task, methods, n_train, report):
    for step in range(2000):
        steps.append(step)
        if report({{"case": methods[0], "seed": 9, "run": 1, "runs": 4, "step": step, "loss": 1.5}}) or go.wait(0.02):
            break
    return made_up(task, tuple(methods), (n_train,), (9,))

comparator = TuningComparator({{"intents": made_up(quality={{"full": 0.8, "LoRA": 0.795, "head": 0.5}}),
                               "sentiment": made_up("sentiment", ("full", "prefix"), (50,))}}, run=run)
comparator
"""
TRYOUT = """
from moe_lib.tuning.tried_text import TokenRoute, TriedText
from moe_lib.views.tryout.widget import TryOut

def answer(text, question):
    words = text.split()
    routes = tuple(TokenRoute(word, {1: ((number % 16, 0.7), (15, 0.3))}) for number, word in enumerate(words))
    if "?" not in question:
        return TriedText("", (("no answer", 0.9), ("“" + words[0] + "”", 0.1)), None, "No answer: not a question.",
                         routes, "all tokens", {1: 16})
    place = text.index(words[-1])
    bars = (("“" + words[-1] + "”", 0.8), ("no answer", 0.2))
    return TriedText(words[-1], bars, (place, place + len(words[-1])), "", routes, "all tokens", {1: 16})

box = TryOut(answer, examples=[("🙂 <b>one</b> two three", "which?"), ("four five", "and now?")])
box
"""


@pytest.fixture
def widgets(lab, page, request):
    root = str(request.config.rootpath)
    make_notebook(lab, page, "tuning_widgets.ipynb", COMPARATOR.format(root=root), TRYOUT)
    assert run_all(page)
    found = [page.get_by_test_id(name) for name in ("tuning-comparator", "tryout")]
    for one in found:
        one.wait_for()
    return found


def texts(locator):
    return [text.strip() for text in locator.all_text_contents()]


def test_the_comparator_is_used_and_a_run_started_watched_and_stopped(page, widgets):
    comparator, _ = widgets
    names = comparator.locator("tbody th")
    assert texts(names) == ["full", "LoRA", "head"]
    comparator.get_by_test_id("tuning-method-2").focus()
    page.keyboard.press("Space")
    wait_for_value(page, "comparator.methods", ["full", "LoRA"])
    page.wait_for_function("document.querySelectorAll('.moe-tuning tbody tr').length === 2")
    assert comparator.get_by_test_id("tuning-method-2").evaluate(
        "box => box === document.activeElement"
    )
    assert (
        "do not show that full is better than LoRA"
        in comparator.get_by_test_id("tuning-warnings").text_content()
    )
    comparator.get_by_test_id("tuning-size").select_option("100")
    wait_for_value(page, "comparator.n_train", 100)
    mean = kernel_value(page, "float(comparator.table['test_accuracy'][0])")
    page.wait_for_function(
        "mean => document.querySelector('[data-testid=tuning-row-0] "
        "td:nth-of-type(2)').textContent === mean",
        arg=f"{mean:.3f}",
    )
    comparator.get_by_test_id("tuning-curve").select_option("validation_loss")
    wait_for_value(page, "comparator.curve", "validation_loss")
    comparator.get_by_text("validation loss (nats)").wait_for()
    lines = comparator.get_by_test_id("tuning-chart-0").locator(".moe-tuning-line")
    assert lines.count() == 2 and len(lines.first.get_attribute("points").split()) == 4
    comparator.get_by_test_id("tuning-task").select_option("sentiment")
    wait_for_value(page, "comparator.task, comparator.n_train", ("sentiment", 50))
    page.wait_for_function("document.querySelectorAll('.moe-tuning tbody tr').length === 1")
    assert comparator.get_by_test_id("tuning-words").text_content() == kernel_value(
        page, "comparator.view['words']"
    )
    kernel_value(page, "setattr(comparator, 'methods', ['full', 'prefix'])")
    page.wait_for_function("document.querySelectorAll('.moe-tuning tbody tr').length === 2")

    kernel_value(page, "setattr(comparator, 'task', 'intents')")
    kernel_value(page, "setattr(comparator, 'methods', ['full', 'LoRA', 'head'])")
    page.wait_for_function("document.querySelectorAll('.moe-tuning tbody tr').length === 3")
    run, stop = (comparator.get_by_test_id(f"tuning-{name}") for name in ("run", "stop"))
    assert stop.is_disabled()
    run.click()
    comparator.get_by_text("run 2 of 4, full, seed 9").wait_for()
    assert (
        run.is_disabled()
        and comparator.get_by_test_id("tuning-progress").evaluate("bar => bar.value") == 0.25
    )
    stop.click()
    wait_for_value(page, "comparator.state", "stopped")
    comparator.get_by_text("Stopped.").wait_for()
    assert texts(comparator.locator("tbody th"))[3:] == [
        f"{name} (run now)" for name in ("full", "LoRA", "head")
    ]
    assert "one seed only" in comparator.get_by_test_id("tuning-warnings").text_content()
    assert kernel_value(page, "len(steps)") < 2000 and run.is_enabled()


def test_the_box_marks_answers_takes_text_literally_and_colours_hold_in_both_themes(page, widgets):
    _, box = widgets
    assert box.get_by_test_id("tryout-mark").text_content() == "three"
    assert box.get_by_test_id("tryout-marked").text_content() == "🙂 <b>one</b> two three"
    assert "◂ answer" in box.get_by_test_id("tryout-bar-0").text_content()
    badges = box.get_by_test_id("tryout-layer-1").locator(".moe-tryout-badge")
    assert texts(badges) == ["0", "15", "1", "15", "2", "15", "3", "15"]
    box.get_by_test_id("tryout-example-1").click()
    wait_for_value(page, "box.text, box.question", ("four five", "and now?"))
    page.wait_for_function(
        "document.querySelector('[data-testid=tryout-mark]').textContent === 'five'"
    )
    box.get_by_test_id("tryout-question").fill("no question")
    wait_for_value(page, "box.question", "no question")
    box.get_by_test_id("tryout-verdict").get_by_text("No answer: not a question.").wait_for()
    assert box.get_by_test_id("tryout-mark").count() == 0
    box.get_by_test_id("tryout-text").fill("")
    page.wait_for_function(
        "document.querySelector('[data-testid=tryout-verdict]').textContent.startsWith('Type "
        "a text')"
    )
    assert kernel_value(page, "box.result is None")
    kernel_value(page, "bool(box.ask('six seven', 'what?'))")
    page.wait_for_function(
        "document.querySelector('[data-testid=tryout-text]').value === 'six seven'"
    )
    assert box.get_by_test_id("tryout-summary").text_content() == kernel_value(page, "box.summary")

    for theme in ("dark", "light"):
        set_theme(page, theme)
        for widget in widgets:
            assert widget.evaluate(CONTRAST) >= 4.5
        assert box.get_by_test_id("tryout-mark").evaluate(CONTRAST) >= 4.5
        for badge in box.locator(".moe-tryout-badge").all():
            assert badge.evaluate(CONTRAST) >= 4.5
        assert box.get_by_test_id("tryout-verdict").evaluate(CONTRAST) >= 4.5
        assert widgets[0].get_by_test_id("tuning-run").evaluate(CONTRAST) >= 4.5
