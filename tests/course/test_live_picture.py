"""A picture that a cell draws again and again: shown once, then replaced, with its words."""

import pytest
from matplotlib.figure import Figure

from moe_course import pictures


def test_the_first_picture_is_shown_and_the_next_takes_its_place(monkeypatch):
    calls = []
    monkeypatch.setattr(pictures, "display", lambda data, **more: calls.append((data, more)))
    live = pictures.LivePicture()
    for step in (1, 2):
        live.show(Figure(figsize=(1, 1)), f"an empty picture after step {step}")
    assert [more["update"] for _, more in calls] == [False, False, True, True]
    names = [more["display_id"] for _, more in calls]
    assert names[:2] == names[2:] and names[0] != names[1]
    picture, words = calls[2][0], calls[3][0]
    assert picture["text/plain"] == "an empty picture after step 2" and "image/png" in picture
    assert "after step 2" in words["text/html"]
    assert calls[2][1]["metadata"]["image/png"]["alt"] == picture["text/plain"]
    with pytest.raises(ValueError, match="alt"):
        live.show(Figure(), "short")


def test_two_pictures_do_not_replace_each_other(monkeypatch):
    names = []
    monkeypatch.setattr(pictures, "display", lambda data, **more: names.append(more["display_id"]))
    for live in (pictures.LivePicture(), pictures.LivePicture()):
        live.show(Figure(figsize=(1, 1)), "an empty picture, for its name")
    assert len(set(names)) == 4
