"""The page that `python -m moe_lib explore` writes, of models of other families, opened from a
file."""

import pytest
from playwright.sync_api import expect

from moe_lib.text import load_tokenizer
from moe_lib.tracing import read_text
from moe_lib.views.explorer.export import write_reading
from tests.tracing.families import build

TEXT = "def area(radius):\n    return 3.14 * radius ** 2\n\nThe list is sorted in place."


@pytest.fixture
def opened(browser, tmp_path):
    """open(family) -> (page, reading); the page must ask for nothing else and log no error."""
    asked, errors, pages = [], [], []

    def open_page(family: str):
        reading = read_text(
            build(family, vocab_size=4096, max_position_embeddings=256), load_tokenizer(), TEXT
        )
        path = write_reading(tmp_path / f"{family}.html", reading, family)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        pages.append((page, path.as_uri()))
        return page, reading

    yield open_page
    for page, _ in pages:
        page.close()
    assert asked == [uri for _, uri in pages] and errors == []


def test_dense_layers_and_shared_experts_are_named(opened):
    page, reading = opened("deepseek_v2")  # 8 experts in 4 groups; a token may use 2
    expect(page.get_by_test_id("layer-0")).to_have_text("Layer 0dense, no router")
    expect(page.get_by_test_id("shared-0")).to_be_visible()
    for token in (3, 4):
        page.get_by_test_id(f"token-{token}").click()
        groups = {expert // 2 for expert in reading.trace.layer(1).experts[0, token].tolist()}
        for card in ("load", "detail"):
            marks = [
                (
                    "used by the token"
                    in page.get_by_test_id(card).get_by_test_id(f"group-{group}").text_content()
                )
                for group in range(4)
            ]
            assert marks == [group in groups for group in range(4)]
    expect(page.get_by_test_id("layer-1")).to_contain_text("MaxVio")
    expect(page.get_by_test_id("load")).to_contain_text("every token passes the shared expert")
    numbers = [number.text_content() for number in page.locator(".moe-number").all()]
    assert numbers == [str(e) for e in reading.trace.layer(1).experts[0, :, 0].tolist()]


def test_tokens_that_skip_the_experts_have_no_number_and_no_colour(opened):
    page, reading = opened("zaya")
    skipped = (~reading.trace.layer(0).chosen[0, :, 0]).nonzero().flatten().tolist()
    assert skipped
    numbers = [number.text_content() for number in page.locator(".moe-number").all()]
    assert [i for i, number in enumerate(numbers) if number == "–"] == skipped
    chip = page.get_by_test_id(f"token-{skipped[0]}")
    assert "no expert" in chip.get_attribute("aria-label") and not chip.get_attribute("style")
    chip.click()
    expect(page.get_by_test_id("sent-to")).to_contain_text("Sent to no expert")
    expect(page.get_by_test_id("load")).not_to_contain_text("shared expert")
