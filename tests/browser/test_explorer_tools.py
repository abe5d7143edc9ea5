"""The exported explorer page: the answer beside its token, moved experts, views, search, pictures."""

import pytest
import torch
from playwright.sync_api import expect

from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.text import load_tokenizer

TEXT = "The list is sorted in place, and None is returned."
BOX = """element => {
  const box = element.getBoundingClientRect();
  return [box.x, box.y, box.right, box.bottom];
}"""


@pytest.fixture
def changed():
    """An explorer with three experts of its first layer switched off."""
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig.preset("tiny", initializer_range=0.3))
    explorer = explore(model, load_tokenizer(), TEXT)
    explorer.switch_off([0, 1, 2])
    return explorer


@pytest.fixture
def opened(changed, browser, tmp_path):
    path = changed.save_html(tmp_path / "page.html")
    errors = []
    page = browser.new_page(viewport={"width": 853, "height": 400}, color_scheme="dark")
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    yield page
    page.close()
    assert errors == []


def test_at_150_percent_zoom_the_answer_stands_beside_its_token(opened):
    """1,280 by 600 pixels at 150 percent are 853 by 400; the tokens stay under the mouse."""
    token, detail = opened.get_by_test_id("token-3"), opened.get_by_test_id("detail")
    opened.get_by_test_id("strip").scroll_into_view_if_needed()
    before = token.evaluate(BOX)
    token.click()
    expect(detail).to_contain_text("Token 3")
    expect(opened.get_by_test_id("summary")).to_contain_text("Layer 0")
    opened.wait_for_timeout(400)  # the summary waits a moment
    assert token.evaluate(BOX) == before
    left, top, right, bottom = detail.evaluate(BOX)
    assert left > before[2] and right <= 853
    assert top < before[3] and bottom - top <= 0.61 * 400
    assert opened.evaluate("document.documentElement.scrollWidth") <= 853


def test_every_token_whose_expert_moved_is_marked(opened, changed):
    was, now = (
        one.trace.layer(0).experts[0].tolist() for one in (changed.baseline, changed.reading)
    )
    moved = [sorted(a) != sorted(b) for a, b in zip(was, now, strict=True)]
    assert any(moved)
    for token, (old, new) in enumerate(zip(was, now, strict=True)):
        number = opened.get_by_test_id(f"token-{token}").locator(".moe-number").text_content()
        shown = str(new[0]) if old[0] == new[0] else f"{old[0]}→{new[0]}"
        shown += "∗" if moved[token] and old[0] == new[0] else ""
        assert number.removesuffix(" ≠") == shown
        marked = opened.get_by_test_id(f"token-{token}").get_attribute("class")
        assert ("moe-moved" in marked) == moved[token]
    legend = opened.get_by_test_id("legend")
    expect(legend).to_contain_text(f"{sum(moved)} of {len(moved)} tokens moved in layer 0")
    first = moved.index(True)
    opened.get_by_test_id(f"token-{first}").click()
    expect(opened.get_by_test_id("sent-before")).to_contain_text(f"expert {was[first][0]}")


def test_flow_and_map_show_what_the_trace_says(opened, changed):
    trace = changed.reading.trace
    opened.get_by_test_id("shows-flow").click()
    expect(opened.get_by_test_id("canvas")).to_contain_text("Choose a token above")
    opened.get_by_test_id("token-2").click()
    for layer in trace.layers:
        row = opened.get_by_test_id(f"flow-{layer.index}")
        assert row.locator("rect title").count() == layer.n_experts
        numbers = [said for said in row.locator("text").all_text_contents()[2:] if "." not in said]
        assert numbers == [str(expert) for expert in layer.experts[0, 2].tolist()]
    opened.get_by_test_id("shows-map").click()
    for layer in trace.layers:
        for token, expert in enumerate(layer.experts[0, :, 0].tolist()):
            cell = opened.get_by_test_id(f"map-{layer.index}-{token}")
            assert cell.locator("text").text_content() == str(expert)
    opened.get_by_test_id("map-1-4").click()
    expect(opened.get_by_test_id("detail")).to_contain_text("Token 4")
    expect(opened.get_by_label("Layer", exact=True)).to_have_value("1")


def test_search_hides_hovering_shows_and_the_scale_changes(opened, changed):
    found = [label for label in changed.reading.labels if "is" in label.lower()]
    opened.get_by_test_id("search").fill("IS")
    hits = f"{len(found)} of {len(changed.reading.labels)} tokens"
    expect(opened.get_by_test_id("hits")).to_have_text(hits)
    opened.get_by_test_id("only-found").check()
    expect(opened.locator(".moe-token:visible")).to_have_count(len(found))
    opened.get_by_test_id("search").press("Escape")
    expect(opened.locator(".moe-token:visible")).to_have_count(len(changed.reading.labels))
    opened.get_by_test_id("token-1").hover()
    expect(opened.get_by_test_id("hover").locator("rect")).to_have_count(8)
    opened.get_by_test_id("token-1").click()
    opened.get_by_role("heading", name="Routing explorer").hover()
    expect(opened.get_by_test_id("hover")).to_be_hidden()
    bars = "[...document.querySelectorAll('.moe-detail .moe-bar')]"
    widths = f"{bars}.map(bar => parseFloat(bar.style.width))"
    linear = opened.evaluate(widths)
    opened.get_by_test_id("log-scale").check()
    for one, log in zip(linear, opened.evaluate(widths), strict=True):
        assert log >= one - 1e-9 and (one == 0 or one < 0.01 or log > 0)


def test_copied_code_makes_the_same_view(opened, changed):
    opened.get_by_test_id("token-3").click()
    opened.get_by_test_id("search").fill('a "b"')
    opened.get_by_test_id("shows-flow").click()
    opened.get_by_test_id("copy-code").click()
    names = {"model": changed._readings._model, "tokenizer": load_tokenizer()}
    exec(opened.get_by_test_id("code").input_value(), names)
    again = names["explorer"]
    assert again.text == TEXT and again.off == changed.off and again.selected["token"] == 3
    assert (again.search, again.shows, again.layer) == ('a "b"', "flow", 0)


@pytest.mark.parametrize("shows", ["experts", "flow", "map"])
def test_pictures_are_saved(opened, shows):
    opened.get_by_test_id("token-3").click()
    opened.get_by_test_id(f"shows-{shows}").click()
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with opened.expect_download() as waiting:
            opened.get_by_test_id(f"save-{kind}").click()
        saved = waiting.value.path().read_bytes()
        assert saved.startswith(start) and len(saved) > 2000
        assert waiting.value.suggested_filename == f"routing.{kind}"


def test_print_keeps_colours_and_cards_whole(opened):
    opened.emulate_media(media="print")
    style = "(e, name) => getComputedStyle(e)[name]"
    for card in ("load", "overview", "detail"):
        node = opened.get_by_test_id(card)
        assert node.evaluate(style, "breakInside") == "avoid"
        assert node.evaluate(style, "printColorAdjust") == "exact"
    assert opened.get_by_test_id("detail").evaluate(style, "maxHeight") == "none"
    expect(opened.get_by_test_id("search")).to_be_hidden()
