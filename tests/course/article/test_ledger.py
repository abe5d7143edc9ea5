"""The ledger of the article's statements: no open row, and whatever a row names is there."""

import json
import re
from dataclasses import replace

import pytest

from moe_course.article.ledger import VERDICTS, load_ledger
from moe_course.article.ledger.evidence import missing, reread
from moe_course.article.ledger.page import PAGE, page
from moe_course.article.ledger.quotes import QUOTES, main, mark, not_in_article, sections
from moe_course.article.ledger.rows import DATA, Place, Printed, Row, the_ledger
from moe_course.chapters import CHAPTERS
from moe_lib.paths import REPOSITORY

LEDGER = the_ledger()
MADE_UP = Row("x", "3.2.1", "话", "Words.", "false", "No.", "不。", (Place("02", "Quiz"),))


def article():
    """The article, where its folder stands beside the repository or above it; it is not shipped."""
    folders = [parent / "shared" / "reference" for parent in REPOSITORY.parents]
    files = [file for folder in folders for file in folder.glob("000_*.txt")]
    return files[0].read_text(encoding="utf-8") if files else None


@pytest.mark.parametrize("row", LEDGER.rows, ids=[row.id for row in LEDGER.rows])
def test_what_a_row_names_is_there_and_its_numbers_are_those_measured(row):
    assert missing(row) == []


@pytest.mark.skipif(article() is None, reason="the article is not in the repository")
def test_each_quote_stands_in_its_section_of_the_article():
    assert not_in_article(LEDGER, article()) == []


def test_each_quote_was_compared_with_the_article():
    noted = json.loads(QUOTES.read_text(encoding="utf-8"))
    assert noted == {row.id: mark(row) for row in LEDGER.rows}


def test_no_part_of_the_article_and_no_verdict_is_without_a_row():
    assert len(LEDGER.rows) >= 61 and LEDGER.parts == tuple("123456789")
    assert min(LEDGER.counts().values()) > 0 and sum(LEDGER.counts().values()) == len(LEDGER.rows)


def test_each_source_is_named_by_a_row_and_each_chapter_has_its_words():
    assert {one.source for row in LEDGER.rows for one in row.sources} == set(LEDGER.sources)
    assert list(LEDGER.chapters) == [chapter.number for chapter in CHAPTERS]
    assert all(one["title"] and one["summary"] for one in LEDGER.chapters.values())


def test_a_heading_a_test_a_chapter_or_a_number_that_is_gone_is_missed():
    number = Printed("1.07", "02", r"the encoder gains (\S+) nats over unigram")
    assert reread(number) == "1.07" and missing(MADE_UP) == []
    for change, words in (
        (dict(chapters=(Place("02", "No such heading"),)), "has no heading"),
        (dict(chapters=(Place("18", "Quiz"),)), "there is no 18_serving.ipynb"),
        (dict(tests=("tests/nowhere.py",)), "there is no tests/nowhere.py"),
        (dict(tests=("tests/conftest.py::test_x",)), "has no test_x"),
        (dict(english="{n}", chinese="{n}", numbers={"n": replace(number, value="2")}), "2 here"),
        (
            dict(english="{n}", chinese="{n}", numbers={"n": replace(number, pattern="(none)")}),
            "fits nothing",
        ),
    ):
        (sentence,) = missing(replace(MADE_UP, **change))
        assert words in sentence


def test_a_number_of_a_study_is_found_by_its_row():
    stored = LEDGER["cutting-layers"].numbers["usage"]
    content = json.loads((REPOSITORY / "data/studies/compression.json").read_text())
    rise = next(one["rise"] for one in content["cases"] if one["name"] == "usage")
    assert reread(stored) == stored.value == f"{rise:+.3f}"
    with pytest.raises(ValueError, match="0 rows"):
        reread(replace(stored, where={"name": "nobody"}))


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(verdict="maybe"), "verdict: got 'maybe'; wants one of holds, holds if"),
        (dict(english=" "), "english: got"),
        (dict(chinese=""), "chinese: got"),
        (dict(section="3.2.1.4"), "section"),
        (dict(english="{n} nats"), "english: got"),
        (dict(chapters=()), "chapters: got"),
    ],
)
def test_an_open_row_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(MADE_UP, **change)


def test_what_is_wrong_in_a_file_is_said_of_its_row(tmp_path):
    for name in ("sources", "chapters"):
        (tmp_path / f"{name}.json").write_text("{}")
    row = json.loads((DATA / "5_questions.json").read_text())["rows"][0]
    for change, words in (
        ({"verdict": "maybe"}, "1_x.json, row 1: verdict"),
        ({"sources": [{"source": "Hearsay", "where": "all"}]}, "Hearsay"),
        ({"chapters": [{"chapter": "77", "heading": "x"}]}, "row 1: .*77"),
        ({"more": 3}, "row 1"),
    ):
        (tmp_path / "1_x.json").write_text(json.dumps({"rows": [{**row, **change}]}))
        with pytest.raises(ValueError, match=words):
            load_ledger(tmp_path)


def test_rows_are_filtered_by_verdict_part_chapter_and_words():
    assert LEDGER.select() == LEDGER.rows
    false = LEDGER.select(verdict="false")
    assert {row.verdict for row in false} == {"false"} and len(false) == LEDGER.counts()["false"]
    assert {row.part for row in LEDGER.select(part="4")} == {"4"}
    in_eleven = LEDGER.select(chapter="11")
    assert in_eleven and all("11" in row.tested_in for row in in_eleven)
    assert [row.id for row in LEDGER.select(text="长文本 专家1")] == ["long-and-short-texts"]
    assert LEDGER.select(text="GPT3forquestion")[0].id == "gpt3-class"
    assert LEDGER.select(verdict="holds", part="4", chapter="12", text="autograd")
    assert LEDGER.select(text="no such words anywhere") == ()
    assert sum(len(LEDGER.select(verdict=one)) for one in VERDICTS) == len(LEDGER.rows)
    for wrong in (dict(verdict="maybe"), dict(part="0"), dict(chapter="99")):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: got"):
            LEDGER.select(**wrong)


def test_a_section_is_its_own_text_and_not_that_under_it():
    text = "## 1. 一\n甲\n### 1.1 二\n乙 丙\n## 9. 附录\n**Q1: 问**\n丁\n**Q2: 问**\n戊\n"
    found = sections(text)
    assert list(found) == ["1", "1.1", "9", "9 Q1", "9 Q2"]
    assert found["1.1"].endswith("乙丙") and "乙" not in found["1"] and "戊" in found["9 Q2"]


def test_the_command_refuses_an_article_without_the_quotes(tmp_path, capsys):
    before = QUOTES.read_text()
    (tmp_path / "other.txt").write_text("## 1. 别的\n", encoding="utf-8")
    assert main([str(tmp_path / "other.txt")]) == 1
    assert "adam" in capsys.readouterr().err and QUOTES.read_text() == before


def test_the_page_for_the_articles_readers_is_up_to_date():
    text = page(LEDGER)
    assert PAGE.read_text(encoding="utf-8") == text, "python -m moe_course.article.ledger.page"
    for row in LEDGER.rows:
        assert row.quote in text and row.words("chinese") in text
    targets = re.findall(r"\]\(\.\./\.\./([^)]*)\)", text)
    assert len(targets) > 100 and all((REPOSITORY / target).exists() for target in targets)
