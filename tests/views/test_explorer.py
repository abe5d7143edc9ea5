"""The explorer driven by code, as notebooks drive it."""

import base64

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.tracing import changed_predictions, experts_off, read_text, trace_routing
from moe_lib.views.explorer.words import NO_TEXT

TEXT = "The list is sorted in place, and None is returned."


@pytest.fixture
def explorer(model, tokenizer):
    return explore(model, tokenizer, TEXT)


def test_starts_with_the_text_read(explorer, model, tokenizer):
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    assert torch.equal(explorer.reading.trace.load(1), trace_routing(model, ids).load(1))
    assert (explorer.layer, explorer.rank, explorer.off) == (0, 1, {})
    assert explorer.selected == {"token": None, "expert": None}
    assert explorer.changes.empty and not explorer.panel.problem


def test_new_text_is_read_at_once_also_through_the_control(explorer):
    explorer.text = "print"
    assert explorer.reading.text == "print"
    explorer.text_area.value = "print(3)"
    assert explorer.reading.text == "print(3)" == explorer.text
    assert explorer.panel.payload["tokens"] == list(explorer.reading.labels)


def test_layer_and_rank_follow_both_ways(explorer):
    explorer.layer, explorer.rank = 1, 2
    assert (explorer.layer_slider.value, explorer.rank_buttons.value, explorer.panel.layer) == (
        1,
        2,
        1,
    )
    assert "Layer 1, 2nd choice" in explorer.summary
    explorer.layer_slider.value, explorer.rank_buttons.value = 0, 1
    assert (explorer.layer, explorer.rank) == (0, 1)
    explorer.panel.layer = 1  # as the browser does
    assert explorer.layer_slider.value == 1


def test_selections_are_said_in_words(explorer):
    explorer.select_token(2)
    experts = explorer.reading.trace.layer(0).experts[0, 2].tolist()
    assert all(f"expert {e} with weight" in explorer.summary for e in experts)
    explorer.select_expert(3)
    load = explorer.reading.trace.load(0)[3].item()
    assert f"Expert 3 of layer 0 is chosen by {load} of" in explorer.summary
    assert explorer.selected == {"token": 2, "expert": 3}
    explorer.select_token(None)
    assert explorer.selected["token"] is None


def test_a_selected_token_survives_typing_behind_it_only(explorer):
    explorer.select_token(1)
    explorer.text = TEXT + " Then"
    assert explorer.selected["token"] == 1
    explorer.text = "Quite another text"
    assert explorer.selected["token"] is None


def test_switching_off_equals_a_direct_run(explorer, model, tokenizer):
    explorer.layer = 1
    busiest = explorer.reading.trace.load(1).argmax().item()
    explorer.switch_off([busiest])
    assert explorer.off == {1: (busiest,)}
    assert explorer.reading.trace.load(1)[busiest] == 0
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        before = model(ids).logits[0].softmax(-1)
        with experts_off(model, {1: [busiest]}):
            after = model(ids).logits[0].softmax(-1)
    differ = (before.argmax(-1) != after.argmax(-1)).nonzero()[:, 0]
    assert len(differ) > 0
    assert (
        explorer.changes["position"].tolist() == (differ + 1).tolist()
    )  # what is expected at the next position
    assert explorer.changes["before_probability"].tolist() == pytest.approx(
        before[differ].amax(-1).tolist(), rel=1e-4
    )
    assert explorer.changes["after_probability"].tolist() == pytest.approx(
        after[differ].amax(-1).tolist(), rel=1e-4
    )
    mean = after[:-1].gather(1, ids[0, 1:, None]).log().mean().item()
    assert f"{mean:.3f}".replace("-", "−") in explorer.summary


def test_switching_on_again_gives_the_same_as_before(explorer):
    before = explorer.panel.payload
    explorer.switch_off([0, 1])
    assert not explorer.all_on_button.disabled
    explorer.all_on_button.click()
    assert explorer.panel.payload == before
    assert explorer.off == {} and explorer.changes.empty and explorer.all_on_button.disabled


def test_experts_of_two_layers_can_be_off(explorer, model, tokenizer):
    explorer.switch_off([0])
    explorer.layer = 1
    explorer.switch_off([2, 3])
    assert explorer.off == {0: (0,), 1: (2, 3)}
    direct = read_text(model, tokenizer, TEXT, off={0: [0], 1: [2, 3]})
    assert len(explorer.changes) == len(changed_predictions(explorer.baseline, direct))


def test_the_browser_may_toggle_and_is_told_when_it_may_not(explorer):
    explorer.receive({"toggle": 5, "layer": 1})
    assert explorer.off == {1: (5,)}
    explorer.receive({"toggle": 5, "layer": 1})
    assert explorer.off == {}
    explorer.layer = 1
    explorer.switch_off(range(6))  # 2 of 8 left, as many as a token needs
    explorer.receive({"toggle": 6, "layer": 1})
    assert explorer.off == {1: tuple(range(6))} and "at least 2 left" in explorer.panel.problem
    explorer.switch_off([])
    assert explorer.panel.problem == ""


def test_no_text_and_long_text_say_so(explorer):
    explorer.select_token(0)
    explorer.text = ""
    assert explorer.summary == NO_TEXT and len(explorer.reading) == 0
    explorer.switch_off([1])  # nothing to change, nothing to crash
    assert explorer.changes.empty
    explorer.text = "word " * 500
    assert len(explorer.reading) == 256  # the model's positions
    assert "only the first 256 are read" in explorer.summary


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (lambda e: setattr(e, "layer", 7), "layer"),
        (lambda e: setattr(e, "rank", 3), "rank"),
        (lambda e: e.select_token(1000), "token"),
        (lambda e: e.select_expert(8), "expert"),
        (lambda e: e.switch_off([8]), "off"),
        (lambda e: e.switch_off(range(7)), "off"),
    ],
)
def test_wrong_values_are_named_and_change_nothing(explorer, action, name):
    before = (explorer.summary, explorer.off, explorer.selected)
    with pytest.raises(ValueError, match=f"^{name}"):
        action(explorer)
    assert (explorer.summary, explorer.off, explorer.selected) == before


def test_wrong_arguments_are_named(model, tokenizer):
    with pytest.raises(ValueError, match="^max_tokens"):
        explore(model, tokenizer, TEXT, max_tokens=0)
    with pytest.raises(TypeError, match="^model"):
        explore("a model", tokenizer, TEXT)
    with pytest.raises(TypeError, match="^text"):
        explore(model, tokenizer, 3)
    small = LanguageModel(ModelConfig.preset("tiny", vocab_size=100))
    with pytest.raises(ValueError, match="^tokenizer"):
        explore(small, tokenizer, TEXT)
    with pytest.raises(ValueError, match="^model"):
        explore(LanguageModel(ModelConfig.preset("tiny").dense()), tokenizer, TEXT)


def test_display_has_widget_picture_and_words(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["image/png"]["alt"] == explorer.summary
    assert explorer.png() == explorer.png()


def test_odd_text_passes_through_as_text(explorer):
    odd = 'Hé 中文 😀\t"x"\r\n<script>alert(1)</script> & שלום \u200d \x00 \u202e$'
    explorer.text = odd
    assert explorer.reading.text == odd
    assert len(explorer.png()) > 1000
