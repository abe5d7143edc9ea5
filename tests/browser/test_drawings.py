"""Drawings in a real browser, light and dark, wide and narrow: nothing overflows, all can be
read."""

import pytest

from moe_lib.views.drawings import DRAWINGS

# What stands outside of the drawing, and the lowest contrast of a text with what is behind it, as
# far as the page itself says: every text with the ground and with the fills of this drawing.
LOOK = """() => {
  const svg = document.querySelector('svg.moe-drawing');
  const frame = svg.getBoundingClientRect();
  const outside = [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1
      || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  });
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const grounds = [getComputedStyle(document.body).backgroundColor];
  for (const box of svg.querySelectorAll('.plain')) grounds.push(getComputedStyle(box).fill);
  const inks = [...svg.querySelectorAll('text')].map(text => getComputedStyle(text).fill);
  return {
    outside: outside.map(text => text.textContent),
    width: document.documentElement.scrollWidth,
    frame: frame.width,
    contrast: Math.min(...inks.map(ink => Math.min(...grounds.map(one => ratio(ink, one))))),
    ground: light(grounds[0]),
  };
}"""
PAGE = (
    "<!doctype html><meta charset=utf-8><body style='color-scheme: light dark; margin: 0;"
    "background: Canvas; color: CanvasText'>{}"
)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_can_be_read(browser, name, theme):
    drawing = DRAWINGS[name]()
    page = browser.new_page(color_scheme=theme)
    try:
        page.set_content(PAGE.format(drawing.svg()))
        for width in (1280, 800, 500):
            page.set_viewport_size({"width": width, "height": 700})
            seen = page.evaluate(LOOK)
            assert seen["outside"] == [] and seen["width"] <= width
            assert seen["frame"] == pytest.approx(min(width, drawing.width), abs=1)
            assert seen["contrast"] >= 4.5
            assert (seen["ground"] > 0.5) == (theme == "light")
    finally:
        page.close()
