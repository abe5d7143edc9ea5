"""What the explorer shows besides the load: settings by code, preset texts, moved experts."""

import json

import pytest

from moe_lib import explore
from moe_lib.tracing import read_text
from moe_lib.views.explorer.controls import PRESETS
from moe_lib.views.explorer.payload import unpack

TEXT = "The list is sorted in place, and None is returned."


@pytest.fixture
def explorer(model, tokenizer):
    return explore(model, tokenizer, TEXT)


def test_search_scale_and_view_go_to_the_page_and_into_the_exported_one(explorer, tmp_path):
    panel = explorer.panel
    assert (panel.search, panel.log_scale, panel.shows) == ("", False, "experts")
    explorer.search, explorer.log_scale, explorer.shows = "is", True, "map"
    assert (panel.search, panel.log_scale, panel.shows) == ("is", True, "map")
    panel.set_state({"search": "a b", "log_scale": False, "shows": "flow"})  # as the page does
    assert (explorer.search, explorer.log_scale, explorer.shows) == ("a b", False, "flow")
    page = explorer.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    state = json.loads(page.split('id="state">')[1].split("</script>")[0])
    assert (state["search"], state["log_scale"], state["shows"]) == ("a b", False, "flow")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_read_as_if_it_were_typed(explorer, name):
    explorer.preset_menu.value = PRESETS[name]
    assert explorer.text == explorer.text_area.value == explorer.reading.text == PRESETS[name]
    assert explorer.panel.problem == "" and explorer.preset_menu.label == name


def test_a_typed_text_is_no_preset_and_the_same_one_can_be_chosen_again(explorer):
    explorer.preset_menu.value = PRESETS["Numbers"]
    explorer.text = "print"
    assert explorer.preset_menu.value == ""
    explorer.preset_menu.value = PRESETS["Numbers"]
    assert explorer.text == PRESETS["Numbers"]


@pytest.mark.parametrize("change", [{"off": {0: (0, 1, 2)}}, {"k": 3}])
def test_the_page_gets_the_experts_as_trained(explorer, model, tokenizer, change):
    assert explorer.panel.before == {}
    if "k" in change:
        explorer.k = change["k"]
    else:
        explorer.switch_off(change["off"][0])
    trained = read_text(model, tokenizer, TEXT).trace
    sent = explorer.panel.before["layers"]
    assert [one["index"] for one in sent] == [layer.index for layer in trained.layers]
    for one, layer in zip(sent, trained.layers, strict=True):
        assert one["k"] == layer.experts.shape[-1]
        assert unpack({"data": one["experts"], "scale": 1}).tolist() == (
            layer.experts.flatten().tolist()
        )


def test_a_changed_loss_is_said_once_and_with_one_sign(explorer):
    explorer.k = 1
    said, loss = explorer.panel.before["lossWords"], explorer.panel.payload["loss"]
    more = loss - explorer.panel.before["loss"]
    assert said in explorer.summary and f"{'+' if more >= 0 else '−'}{abs(more):.2f}"[:4] in said
    assert explorer.summary.count("nats") == 1
