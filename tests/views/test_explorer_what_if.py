"""Another number of experts per token in the explorer, and layers drawn as what they are."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.tracing import experts_per_token
from moe_lib.views.explorer.payload import unpack
from tests.tracing.families import build

TEXT = "The list is sorted in place, and None is returned."


@pytest.fixture
def explorer(model, tokenizer):
    return explore(model, tokenizer, TEXT)


def test_k_changes_reading_predictions_and_words(explorer, model, tokenizer):
    trained = explorer.k
    assert explorer.k_slider.value == trained == 2 and explorer.panel.before == {}
    explorer.k_slider.value = 5
    assert explorer.k == 5 == explorer.reading.trace.layer(1).experts.shape[-1]
    ids = explorer.reading.trace.input_ids
    with torch.no_grad():
        before = model(ids, labels=ids)
        with experts_per_token(model, 5):
            after = model(ids, labels=ids)
    assert explorer.panel.payload["loss"] == pytest.approx(after.loss.item(), abs=1e-4)
    assert explorer.panel.before["loss"] == pytest.approx(before.loss.item(), abs=1e-4)
    best = before.logits[0].softmax(-1).max(-1)
    sent = explorer.panel.before["predictions"][1]["best"][0]
    assert sent[1] == pytest.approx(best.values[0].item(), abs=1e-4)
    now = after.logits[0].argmax(-1)
    changed = ((best.indices != now).nonzero()[:, 0] + 1).tolist()
    assert explorer.changes["position"].tolist() == changed != []
    assert "5 experts per token instead of 2" in explorer.summary
    assert explorer.panel.before["title"] == "5 experts per token instead of 2"


def test_ranks_follow_k_and_all_comes_back(explorer):
    before = explorer.panel.payload
    explorer.k = 4
    explorer.rank = 4
    explorer.k = None
    assert (
        explorer.rank == 2
        and len(explorer.rank_buttons.options) == 2
        and explorer.k_slider.value == 2
    )
    assert (
        explorer.panel.payload == before and explorer.changes.empty and explorer.panel.before == {}
    )
    explorer.k = 2  # the trained number is no change
    assert explorer.reading is explorer.baseline


def test_k_and_experts_off_together(explorer):
    explorer.k = 3
    explorer.switch_off([0, 1])
    assert (explorer.k, explorer.off) == (3, {0: (0, 1)})
    assert "3 experts per token instead of 2; switched off: layer 0: 0, 1" in explorer.summary
    explorer.all_on_button.click()
    assert (explorer.k, explorer.off) == (3, {})
    explorer.text = "print"
    assert explorer.k == 3 and explorer.reading.k == 3


def test_k_that_cannot_be_is_said_and_changes_nothing(explorer):
    explorer.switch_off([0, 1])
    before = (explorer.summary, explorer.k, explorer.off)
    for k in (0, 7, 9):
        with pytest.raises(ValueError, match="^(k|off): "):
            explorer.k = k
    with pytest.raises(TypeError, match="^k"):
        explorer.k = 2.5
    assert (explorer.summary, explorer.k, explorer.off) == before
    explorer.k_slider.value = 7  # as a reader does; 6 experts are left
    assert explorer.k_slider.value == 2 and "at least 7 left" in explorer.panel.problem
    assert (explorer.summary, explorer.k, explorer.off) == before


def test_a_family_whose_k_is_fixed_is_named(tokenizer):
    explorer = explore(
        build("phimoe", vocab_size=4096, max_position_embeddings=256), tokenizer, TEXT
    )
    assert "PhimoeTopKRouter" in explorer.k_note and explorer.k_slider.layout.display == "none"
    assert explorer._controls.k_words.value == explorer.k_note
    with pytest.raises(ValueError, match="PhimoeTopKRouter"):
        explorer.k = 1
    assert explorer.k == 2


def test_hugging_face_models_too(tokenizer):
    model = build("deepseek_v2", vocab_size=4096, max_position_embeddings=256, n_shared_experts=2)
    explorer = explore(model, tokenizer, TEXT)
    assert [value for _, value in explorer.k_slider.options] == [1, 2, 3, 4] and explorer.k == 3
    explorer.k = 1
    assert explorer.reading.trace.layer(1).experts.shape[-1] == 1 and not explorer.k_note
    assert model.model.layers[1].mlp.gate.top_k == 3  # restored


def test_dense_shared_and_groups_are_sent_and_said(tokenizer):
    torch.manual_seed(0)
    config = ModelConfig.preset(
        "tiny",
        router="group_limited",
        n_group=4,
        topk_group=2,
        n_shared_experts=2,
        num_hidden_layers=3,
        first_k_dense_replace=1,
    )
    explorer = explore(LanguageModel(config), tokenizer, TEXT)
    sent = explorer.panel.payload
    assert sent["dense"] == [0] and explorer.layer == 1
    assert [(one["shared"], one["nGroup"], one["topkGroup"]) for one in sent["layers"]] == [
        (2, 4, 2)
    ] * 2
    assert "every token passes 2 shared experts" in explorer.summary
    assert "in 4 groups of 2; a token may use at most 2 groups" in explorer.summary
    explorer.select_token(3)
    experts = explorer.reading.trace.layer(1).experts[0, 3].tolist()
    groups = sorted({expert // 2 for expert in experts})
    assert (
        f"They lie in group{'s' * (len(groups) > 1)} {' and '.join(map(str, groups))}."
        in explorer.summary
    )
    assert (
        unpack({"data": sent["layers"][0]["experts"], "scale": 1}).reshape(-1, 2)[3].tolist()
        == experts
    )
    load, layers = explorer.figure().axes[1:3]
    explorer.select_token(None)
    load, layers = explorer.figure().axes[1:3]
    lines = [
        line.get_xdata()[0] for line in load.lines if line.get_xdata()[0] == line.get_xdata()[1]
    ]
    assert lines == [1.5, 3.5, 5.5]  # between the groups
    assert (
        len(load.patches) == 8 + 2
        and "shared: every token" in load.get_legend().get_texts()[-1].get_text()
    )
    tokens = int(explorer.reading.trace.real.sum())
    assert [text.get_text() for text in load.texts] == [str(tokens)] * 2  # on the shared bars
    assert [text.get_text() for text in layers.texts] == ["dense, no router"]
