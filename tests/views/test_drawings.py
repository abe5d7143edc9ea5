"""Drawings: well-formed, with words, in the page's own colours, and no text over its box."""

import re
import xml.etree.ElementTree as ET
from io import BytesIO

import pytest
from IPython.core.formatters import format_display_data
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from PIL import Image

from moe_lib.views.drawings import DRAWINGS
from moe_lib.views.drawings.as_svg import EDGE, FILL, STYLE, WORD
from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.shapes import Box, Label, Line, text_size
from moe_lib.views.kit.palette import HUES, contrast, mix

SVG = "{http://www.w3.org/2000/svg}"
THEMES = {"light": ("#1f1f1f", "#ffffff"), "dark": ("#ffffff", "#111111")}
WORDS = "A canvas for a test, with a sentence that says what would be seen on it."


def canvas(width=300, height=200):
    return Canvas("trial", "A trial", WORDS, width, height)


@pytest.fixture(params=DRAWINGS)
def drawing(request):
    return DRAWINGS[request.param]()


def extent(shape):
    """(left, top, right, bottom) of a shape's text, measured with matplotlib's own outlines."""
    family = "DejaVu Sans Mono" if shape.mono else "DejaVu Sans"
    font = FontProperties(family=family, weight="bold" if shape.bold else "normal")
    lines = shape.text.split("\n")
    widths = [TextPath((0, 0), line, size=shape.size, prop=font).get_extents() for line in lines]
    wide, high = max(box.x1 for box in widths), len(lines) * shape.size * 1.15
    if isinstance(shape, Box):
        x, y = shape.middle
        return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
    left = shape.x - {"start": 0, "middle": 0.5, "end": 1}[shape.anchor] * wide
    return left, shape.y - shape.size / 2, left + wide, shape.y - shape.size / 2 + high


def test_names_and_sizes(drawing):
    assert DRAWINGS[drawing.name].__name__ == drawing.name
    assert drawing.width <= 760 and len(drawing.words) > 100


def test_svg_is_well_formed_and_has_words(drawing):
    root = ET.fromstring(drawing.svg())
    assert root.tag == SVG + "svg" and root.get("role") == "img"
    ids = {element.get("id"): element.text for element in root if element.get("id")}
    titles = [ids[name] for name in root.get("aria-labelledby").split()]
    assert titles == [drawing.title, drawing.words]
    texts = ["".join(element.itertext()) for element in root.iter(SVG + "text")]
    assert len(texts) >= 5 and all(text.strip() for text in texts)


def test_svg_scales_and_holds_no_colour_of_its_own_but_the_hues(drawing):
    root = ET.fromstring(drawing.svg())
    assert root.get("viewBox") == f"0 0 {drawing.width:g} {drawing.height:g}"
    assert "width: 100%" in drawing.svg() and "overflow" not in drawing.svg()
    assert root.get("style") == f"max-width: {drawing.width:g}px"
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", drawing.svg())) - {"#moe"} <= set(HUES)
    assert not re.search(r"\bwhite\b|\bblack\b|rgb\(", drawing.svg())
    for element in root.iter():
        assert element.get("fill") in (None, "url(#moe-hatch)") and not element.get("stroke")


def test_rules_reach_nothing_else_on_the_page():
    for selectors in re.findall(r"([^{}]+)\{", STYLE):
        assert all(".moe-drawing" in one for one in selectors.split(","))


def test_texts_stay_in_their_boxes_and_apart(drawing):
    texts = [shape for shape in drawing.shapes if isinstance(shape, Box | Label) and shape.text]
    for shape in texts:
        left, top, right, bottom = extent(shape)
        room = (0, 0, drawing.width, drawing.height)
        if isinstance(shape, Box):
            room = (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)
        assert left >= room[0] and top >= room[1], shape.text
        assert right <= room[2] and bottom <= room[3], shape.text
    for number, one in enumerate(texts):
        for other in texts[number + 1 :]:
            a, b = extent(one), extent(other)
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, f"{one.text!r} over {other.text!r}"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("hue", HUES)
def test_contrast(theme, hue):
    """As WCAG asks: 4.5 for words, 3 for lines that carry meaning."""
    ink, ground = THEMES[theme]
    fill, edge = mix(hue, ground, 1 - FILL / 100), mix(hue, ink, 1 - EDGE / 100)
    assert contrast(ink, fill) >= 4.5
    assert contrast(mix(hue, ink, 1 - WORD / 100), ground) >= 4.5
    assert contrast(edge, ground) >= 3
    assert contrast(mix(ink, ground, 0.28), mix(ink, ground, 0.94)) >= 4.5  # muted words on a box


def test_shown_as_svg_with_a_still_picture_and_words(drawing):
    data, metadata = drawing._repr_mimebundle_()
    assert set(data) == {"text/html", "image/svg+xml", "image/png", "text/plain"}
    assert data["text/plain"] == metadata["image/png"]["alt"] == drawing.summary
    assert "<desc" in data["text/html"] and drawing._repr_svg_() == data["image/svg+xml"]
    picture = Image.open(BytesIO(drawing.png()))
    assert picture.size == (round(drawing.width), round(drawing.height))
    assert drawing.png() == drawing.png()
    assert len(picture.convert("L").getcolors()) > 10


def test_a_cell_shows_picture_and_folded_words(drawing, capsys):
    shown, _ = format_display_data(drawing)
    assert shown == {} or "text/plain" in shown  # it displays itself
    said = capsys.readouterr().out
    assert "The picture in words" in said and drawing.title in said


def test_canvas_refuses_what_would_not_be_readable():
    draw = canvas()
    with pytest.raises(ValueError, match="text: got .*a box of at least"):
        draw.box(0, 0, 40, 20, "far too long for this")
    with pytest.raises(ValueError, match="text"):
        draw.circle(50, 50, 20, "a circle")
    with pytest.raises(ValueError, match="place: got .*within 300 by 200"):
        draw.label(290, 50, "over the edge", anchor="start")
    with pytest.raises(ValueError, match="size: got 9"):
        draw.label(100, 50, "small", size=9)
    with pytest.raises(ValueError, match="hue: got 8"):
        draw.line((0, 0), (10, 10), hue=8)
    with pytest.raises(ValueError, match="width: got 900"):
        canvas(width=900)
    with pytest.raises(ValueError, match="words"):
        Canvas("trial", "A trial", "short", 10, 10)
    with pytest.raises(ValueError, match="anchor"):
        draw.label(100, 50, "word", anchor="left")
    with pytest.raises(ValueError, match="edge"):
        draw.box(0, 0, 9, 9, edge="dotted")
    with pytest.raises(ValueError, match="points"):
        draw.line((0, 0))


def test_an_arrow_ends_at_its_tip_and_its_shaft_before():
    draw = canvas()
    arrow = draw.arrow((10, 50), (110, 50))
    tip, one, other = arrow.head()
    assert tip == (110, 50) and one[0] == other[0] < 110 and one[1] > 50 > other[1]
    assert arrow.shaft()[-1] == (one[0], 50)
    assert draw.line((10, 50), (110, 50)).shaft() == ((10, 50), (110, 50))


def test_words_of_a_reader_are_escaped_and_hatching_is_defined_once():
    draw = canvas()
    draw.token(5, 5, "<a & b>")
    draw.box(5, 60, 50, 50, hatched=True)
    svg = draw.drawing().svg()
    assert "&lt;a &amp; b&gt;" in svg and ET.fromstring(svg) is not None
    assert svg.count("<pattern") == 1 and draw.drawing().png()


def test_text_is_measured_as_wide_as_it_is():
    path = TextPath((0, 0), "residual stream", size=20, prop=FontProperties(family="DejaVu Sans"))
    wide, high = text_size("residual stream", 20)
    assert wide == pytest.approx(path.get_extents().x1, abs=3) and high == 25
    assert text_size("a\nb", 20)[1] == 50


def test_an_arc_runs_against_the_clock():
    arc = canvas().arc((100, 100), 50, 0, 90)
    assert isinstance(arc, Line)
    assert arc.points[0] == pytest.approx((150, 100)) and arc.points[-1] == pytest.approx((100, 50))
