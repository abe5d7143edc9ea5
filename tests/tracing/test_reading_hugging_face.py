"""Readings of Hugging Face models."""

import pytest
import torch

from moe_lib import explore
from moe_lib.text import load_tokenizer
from moe_lib.tracing import changed_predictions, read_text
from moe_lib.views import token_figure
from moe_lib.views.explorer.payload import NO_EXPERT, reading_payload, unpack
from moe_lib.views.explorer.words import layer_words, token_words
from moe_lib.views.kit.wording import count
from tests.tracing.families import FAMILIES, build

LINE = "The list is sorted in place, and None is returned."


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def larger(family: str):
    return build(family, vocab_size=4096, max_position_embeddings=256)


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v2", "qwen3_5_moe", "gpt_oss"])
def test_predictions_are_those_of_a_plain_forward_pass(family, tokenizer):
    model = larger(family).train()
    reading = read_text(model, tokenizer, LINE)
    ids = torch.tensor([tokenizer(LINE)["input_ids"]])
    assert model.training
    with torch.no_grad():
        output = model.eval()(ids, labels=ids)
    best = output.logits[0].argmax(-1).tolist()
    assert [p.ids[0] for p in (*reading.predictions[1:], reading.next)] == best
    assert "".join(reading.pieces) == LINE and reading.causal and reading.trace.n_layers == 2
    log_probs = output.logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
    assert reading.mean_log_probability == pytest.approx(log_probs.mean().item(), rel=1e-4)


def test_what_if_changes_predictions(tokenizer):
    model = larger("mixtral")
    whole = read_text(model, tokenizer, LINE)
    busiest = whole.trace.load(1).argsort(descending=True)[:4].tolist()
    reading = read_text(model, tokenizer, LINE, off={1: busiest})
    assert reading.trace.load(1)[busiest].sum() == 0 and changed_predictions(whole, reading)


def test_long_and_empty_texts(tokenizer):
    model = larger("olmoe")
    assert len(read_text(model, tokenizer, "word " * 500)) == 256
    empty = read_text(model, tokenizer, "")
    assert len(empty) == 0 and empty.trace.load(0).tolist() == [0] * 8


def test_models_that_predict_no_tokens_are_refused_in_words(tokenizer):
    for family in ("qwen3_vl_moe", "switch_transformers"):
        with pytest.raises(
            ValueError, match=f"model: got '{FAMILIES[family][0]}, which gives no logits"
        ):
            read_text(larger(family), tokenizer, LINE)


def test_shared_experts_are_told_of(tokenizer):
    layers = {
        f: read_text(larger(f), tokenizer, LINE).trace.layers
        for f in ("mixtral", "deepseek_v2", "qwen2_moe")
    }
    assert [part[0].shared for part in layers.values()] == [False, True, True]


def test_the_explorer_works_on_them(tokenizer):
    explorer = explore(larger("deepseek_v2"), tokenizer, LINE)
    assert explorer.layer == 1 and explorer.panel.payload["dense"] == [0]
    busiest = explorer.reading.trace.load(1).argsort(descending=True)[:3].tolist()
    explorer.switch_off(busiest)
    assert explorer.off == {1: tuple(sorted(busiest))} and len(explorer.changes)
    assert explorer.reading.trace.load(1)[busiest].sum() == 0
    explorer.switch_off([])
    assert torch.equal(explorer.reading.trace.load(1), explorer.baseline.trace.load(1))


def test_the_explorer_says_where_experts_cannot_be_switched_off(tokenizer):
    explorer = explore(larger("doge"), tokenizer, LINE)
    explorer.receive({"layer": 0, "toggle": 3})
    assert "can be told to avoid experts" in explorer.panel.problem and explorer.off == {}


def test_tokens_without_an_expert_are_shown_as_such(tokenizer):
    reading = read_text(larger("zaya"), tokenizer, LINE)
    layer = reading.trace.layers[0]
    skipped = (~layer.chosen[0, :, 0]).nonzero().flatten().tolist()
    sent = unpack({"data": reading_payload(reading)["layers"][0]["experts"], "scale": 1})
    assert skipped and [i for i, e in enumerate(sent) if e == NO_EXPERT] == skipped
    assert token_words(reading, layer, skipped[0]).endswith("is sent to no expert.")
    assert f"1st choice: {count(len(reading) - len(skipped), 'token')} go" in layer_words(
        reading, layer, 1
    )
    numbers = [text.get_text() for text in token_figure(reading, 0).axes[0].texts][1::2]
    assert [i for i, number in enumerate(numbers) if number == "–"] == skipped
