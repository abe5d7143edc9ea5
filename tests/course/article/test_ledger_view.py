"""The ledger's widget in code: filters, messages, words in both languages, the picture."""

import pytest

from moe_course.article.ledger.rows import VERDICTS, the_ledger
from moe_course.article.ledger_view import LedgerView
from moe_course.article.ledger_view.figure import ledger_figure


@pytest.fixture
def view():
    return LedgerView()


def ids(view):
    return [row["id"] for row in view.view["rows"]]


def test_it_begins_with_all_rows_in_english(view):
    ledger = the_ledger()
    assert ids(view) == [row.id for row in ledger.rows] and view.language == "english"
    counts = {one["value"]: one["count"] for one in view.view["verdicts"]}
    assert counts == {"all": len(ledger.rows), **ledger.counts()}
    assert view.summary.startswith(f"{len(ledger.rows)} of {len(ledger.rows)} statements")


def test_filters_narrow_each_other_and_the_verdicts_count_what_the_others_leave(view):
    view.set(part="4", chapter="04")
    assert set(ids(view)) == {row.id for row in the_ledger().select(part="4", chapter="04")}
    counts = {one["value"]: one["count"] for one in view.view["verdicts"]}
    view.verdict = "false"
    assert counts["false"] == len(ids(view)) < counts["all"]
    assert {one["value"]: one["count"] for one in view.view["verdicts"]} == counts
    assert "part 4, chapter 04" in view.summary and "“false”" in view.summary
    view.text = "Dot PRODUCT"
    assert ids(view) == ["gradient-of-a-weight"] and "words “Dot PRODUCT”" in view.summary
    view.text = "nobody says this"
    assert ids(view) == [] and view.summary.startswith("0 of ")
    view.reset()
    assert len(ids(view)) == len(the_ledger().rows) and view.text == ""


def test_a_row_has_its_reason_its_places_and_its_sources(view):
    (row,) = [one for one in view.view["rows"] if one["id"] == "gradient-of-a-weight"]
    stored = the_ledger()["gradient-of-a-weight"]
    assert row["code"] and row["quote"] == stored.quote and row["words"] == stored.words()
    assert any(place.startswith("04 The mixture") for place in row["places"])
    (row,) = [one for one in view.view["rows"] if one["id"] == "less-overfitting"]
    assert "ST-MoE (arXiv 2202.08906), section 4.1" in row["sources"] and not row["code"]


def test_all_its_words_are_there_in_chinese_too(view):
    english = view.view
    view.language = "chinese"
    chinese = view.view
    assert english["labels"].keys() == chinese["labels"].keys()
    for one, other in zip(english["rows"], chinese["rows"], strict=True):
        assert one["id"] == other["id"] and one["words"] != other["words"]
    for name in ("verdicts", "parts", "chapters"):
        assert all(
            one["words"] != other["words"] or one["words"][3:] in ("Transformer", "DeepSeekMoE")
            for one, other in zip(english[name], chinese[name], strict=True)
            if one["words"] != "09 DeepSeek-V2"
        )
    assert view.summary.startswith("共 ") and "statements" not in view.summary


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(verdict="maybe"), "verdict: got 'maybe'; wants one of all, holds"),
        (dict(part="0"), "part: got '0'"),
        (dict(chapter="4"), "chapter: got '4'"),
        (dict(language="French"), "language: got"),
        (dict(text=3), "text: got 3"),
        (dict(text="half \ud83d"), "text: got"),
        (dict(nothing="x"), "nothing: got"),
        (dict(part="4", verdict="maybe"), "verdict: got"),
    ],
)
def test_what_cannot_be_set_changes_nothing(view, change, words):
    before = view.view
    with pytest.raises((ValueError, TypeError), match=words):
        view.set(**change)
    assert view.view == before
    assert words.split(":")[0] in view.receive({"set": change}) and view.view["rows"]
    assert ids(view) == [row["id"] for row in before["rows"]]


def test_a_ledger_is_a_ledger():
    with pytest.raises(TypeError, match="ledger: got 'x'; wants a Ledger"):
        LedgerView("x")


def test_the_page_chooses_and_takes_all_filters_away(view):
    assert view.receive({"set": {"verdict": "false", "text": "GPT3"}}) == ""
    assert ids(view) == ["gpt3-class"] or "gpt3-class" in ids(view)
    assert view.receive({"reset": True}) == "" and view.verdict == "all"
    for message in ({}, {"set": {}}, {"reset": False}, {"set": {"more": "x"}}, "x", {"set": 3}):
        assert view.receive(message) != ""


def test_the_picture_counts_the_rows_that_are_shown(view):
    ledger = the_ledger()
    figure = ledger_figure(ledger, ledger.select(part="4"), "part 4")
    (ax,) = figure.axes
    widths = [patch.get_width() for patch in ax.patches]
    assert len(widths) == len(VERDICTS) * len(ledger.parts)
    assert sum(widths) == len(ledger.select(part="4"))
    assert [text.get_text() for text in ax.get_yticklabels()][3] == "4 Formulas"
    assert "part 4" in figure.get_suptitle()
    view.set(text="nobody says this")
    assert view.png()[:4] == b"\x89PNG"
