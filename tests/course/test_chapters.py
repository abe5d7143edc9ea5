"""The list of chapters holds together, and the map says in words what it shows."""

from html.parser import HTMLParser

import pytest

from moe_course import CHAPTERS, course_map
from moe_course.chapters import find_chapter


def test_numbers_run_from_00_to_19_and_needs_point_back():
    assert [chapter.number for chapter in CHAPTERS] == [f"{n:02d}" for n in range(20)]
    for chapter in CHAPTERS:
        assert all(need < chapter.number for need in chapter.needs)
        assert chapter.needs or chapter.number == "00"


def test_ready_chapters_only_need_ready_ones():
    ready = {chapter.number for chapter in CHAPTERS if chapter.ready}
    assert {"00", "01", "02", "03"} <= ready
    assert all(set(chapter.needs) <= ready for chapter in CHAPTERS if chapter.ready)


@pytest.mark.parametrize(
    "name", ["03", "3", "transformer", "03_transformer", "03_transformer.ipynb"]
)
def test_find_chapter(name):
    assert find_chapter(name).filename == "03_transformer.ipynb"


def test_find_chapter_unknown():
    with pytest.raises(ValueError, match="'99'"):
        find_chapter("99")


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.links = 0, []

    def handle_starttag(self, tag, attrs):
        self.rows += tag == "tr"
        if tag == "a":
            self.links.append(dict(attrs)["href"])


def test_map_has_a_row_per_chapter_and_links_what_is_ready():
    page = Cells()
    page.feed(course_map()._repr_html_())
    assert page.rows == 1 + len(CHAPTERS)
    assert page.links == [chapter.filename for chapter in CHAPTERS if chapter.ready]
    text = repr(course_map())
    assert "09  DeepSeek-V2 (after 07, 08)" in text and all(
        chapter.sentence in text for chapter in CHAPTERS
    )
