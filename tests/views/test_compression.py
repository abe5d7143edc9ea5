"""The compression comparator in code: groups, cases, messages, words and the picture."""

import pytest

from moe_lib.views.compression import CompressionCase, CompressionComparator

CASES = [
    CompressionCase("pruning", "usage", 600, 0.2, 0.01, None, {"code": 0.3, "stories": 0.1}),
    CompressionCase("pruning", "REAP", 600, 0.05, 0.01),
    CompressionCase("router", "2 bits", 900, -0.01, 0.002, 0.25, {"code": 0.0, "stories": -0.02}),
]


@pytest.fixture
def widget():
    return CompressionComparator(CASES, whole=1000)


def test_it_begins_with_the_first_case_and_shows_its_group(widget):
    assert widget.groups == ["pruning", "router"] and widget.group == "pruning"
    assert widget.chosen is CASES[0] and widget.case == "usage"
    rows = widget.view["rows"]
    assert [row["name"] for row in rows] == ["usage", "REAP"] and rows[0]["chosen"]
    assert rows[0]["size"]["place"] == 0.6 and rows[0]["rise"]["place"] == 1
    assert rows[1]["rise"]["place"] == pytest.approx(0.25)
    assert rows[0]["flipped"] == {"place": None, "words": "–"}
    assert widget.view["domains"][1] == {
        "domain": "stories",
        "place": pytest.approx(1 / 3),
        "words": "+0.100",
    }


def test_another_group_begins_at_its_first_case_and_a_case_stays_in_its_group(widget):
    widget.set(case="REAP")
    assert widget.chosen is CASES[1] and not widget.view["domains"]
    widget.set(group="pruning")
    assert widget.case == "REAP"
    widget.group = "router"
    assert widget.case == "2 bits" and widget.view["rows"][0]["flipped"]["place"] == 0.25
    assert widget.view["rows"][0]["rise"]["place"] == 0  # it got better
    with pytest.raises(ValueError, match="case: got 'REAP'; wants one of 2 bits"):
        widget.set(case="REAP")
    assert widget.group == "router"


def test_the_page_chooses_and_is_told_what_cannot_be(widget):
    assert widget.receive({"case": "REAP"}) == "" and widget.case == "REAP"
    assert widget.receive({"group": "router"}) == "" and widget.group == "router"
    for message in (
        {"group": "x"},
        {"case": 3},
        {"case": "REAP"},
        {"group": "router", "case": "a"},
        3,
    ):
        assert widget.receive(message) != ""
        assert widget.view["problem"] and (widget.group, widget.case) == ("router", "2 bits")


def test_the_words_hold_every_number_of_the_group(widget):
    said = widget.summary
    for part in ("pruning", "usage", "+0.200 ± 0.010", "60.0 % of the whole", "REAP", "+0.050"):
        assert part in said
    assert "Most in code (+0.300), least in stories (+0.100)" in said
    widget.set(group="router")
    assert "25.0 % of tokens get other experts" in widget.summary


def test_the_picture_holds_the_same_words(widget):
    texts = {text.get_text() for ax in widget.figure().axes for text in ax.texts}
    assert {"600 B", "+0.200 ± 0.010", "+0.050 ± 0.010", "–", "+0.300"} <= texts
    labels = [label.get_text() for label in widget.figure().axes[0].get_yticklabels()]
    assert labels == ["→ usage", "REAP"]
    assert len(widget.png()) > 1000
