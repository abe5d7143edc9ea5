"""A widget that is put on show before it has anything to show: one place, brought up to date."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from moe_lib.views.cache_calculator.widget import CacheCalculator


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: (data, metadata, transient, update) of each call."""
    calls = []
    InteractiveShell.instance()

    def publish(data, metadata=None, *, transient=None, update=False, **options):
        calls.append((data, metadata, transient, update))

    monkeypatch.setattr("IPython.core.display_functions.publish_display_data", publish)
    yield calls
    InteractiveShell.clear_instance()


def test_on_show_displays_at_once_and_updates_the_same_place_in_the_end(shown):
    calculator = CacheCalculator()
    with calculator.on_show():
        assert len(shown) == 2 and not any(update for *_, update in shown)
        calculator.set(kind="MHA")
    (picture, _, place, _), (words, _, _, _), (later, about, same, update), (last, *_) = shown
    assert update and same == place and place["display_id"]
    assert later["image/png"] != picture["image/png"]
    assert about["image/png"]["alt"] == later["text/plain"] == calculator.summary
    assert "MHA" in last["text/html"] and words["text/html"] != last["text/html"]


def test_a_block_that_fails_leaves_the_picture_as_it_was(shown):
    with pytest.raises(RuntimeError, match="halfway"), CacheCalculator().on_show():
        raise RuntimeError("halfway")
    assert len(shown) == 2
