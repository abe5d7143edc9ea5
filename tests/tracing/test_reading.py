"""Readings: pieces give the text back, predictions are those of a plain forward pass."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.text import load_tokenizer
from moe_lib.tracing import changed_predictions, experts_off, read_text

ODD = 'Hé 中文 😀👩‍👩‍👧\t"x"\r\n<script> & שלום \u200d\x00 ﷽ é'
LINE = "The list is sorted in place, and None is returned."


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def make(causal: bool) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", causal=causal, initializer_range=0.3))


@pytest.fixture(scope="module")
def causal():
    return make(True)


@pytest.fixture(scope="module")
def masked():
    return make(False)


@pytest.mark.parametrize("text", [ODD, LINE, " \n\n  a", "中", "\t", "😀"])
def test_pieces_join_back_to_the_text(causal, tokenizer, text):
    reading = read_text(causal, tokenizer, text)
    assert "".join(reading.pieces) == text == reading.text
    assert len(reading) == len(tokenizer(text)["input_ids"]) == len(reading.predictions)
    assert all(label and not label.isspace() for label in reading.labels)


def test_a_character_over_several_tokens_is_shown_once(causal, tokenizer):
    reading = read_text(causal, tokenizer, "中\tx")
    assert reading.labels == ("中", "·", "·", "⇥", "x")
    assert reading.pieces == ("中", "", "", "\t", "x")


def test_invisible_characters_are_spelled_out(causal, tokenizer):
    assert read_text(causal, tokenizer, "\u200d").labels[0] == "U+200D"


def test_causal_predictions_are_the_models_own(causal, tokenizer):
    ids = torch.tensor([tokenizer(LINE)["input_ids"]])
    with torch.no_grad():
        probabilities = causal(ids).logits[0].softmax(-1)
    reading = read_text(causal, tokenizer, LINE)
    assert reading.predictions[0] is None
    made = [*reading.predictions[1:], reading.next]
    assert [p.ids[0] for p in made] == probabilities.argmax(-1).tolist()
    assert [p.probabilities[0] for p in made] == pytest.approx(
        probabilities.amax(-1).tolist(), rel=1e-4
    )
    loss = causal(ids, labels=ids).loss.item()
    assert reading.mean_log_probability == pytest.approx(-loss, rel=1e-5)
    assert reading.next.log_probability is None


def test_masked_predictions_hide_the_token_itself(masked, tokenizer):
    ids = torch.tensor([tokenizer(LINE)["input_ids"]])
    reading = read_text(masked, tokenizer, LINE)
    assert reading.next is None and reading.masked_share == pytest.approx(1 / ids.shape[1])
    for position in range(ids.shape[1]):  # the naive way, one at a time
        hidden = ids.clone()
        hidden[0, position] = tokenizer.mask_token_id
        with torch.no_grad():
            log_probs = masked(hidden).logits[0, position].log_softmax(-1)
        assert reading.predictions[position].ids[0] == log_probs.argmax()
        assert reading.predictions[position].log_probability == pytest.approx(
            log_probs[ids[0, position]].item(), abs=1e-3
        )


def test_a_long_text_is_masked_in_a_few_passes(masked, tokenizer):
    reading = read_text(masked, tokenizer, "the list is a sequence of items " * 60, max_tokens=200)
    assert len(reading) == 200 and all(reading.predictions)
    passes = round(1 / reading.masked_share)
    assert passes == 10  # 2048 // 200
    ids = reading.trace.input_ids.clone()
    ids[0, 3::passes] = tokenizer.mask_token_id
    with torch.no_grad():
        expected = masked(ids).logits[0, 3::passes].argmax(-1).tolist()
    assert [p.ids[0] for p in reading.predictions[3::passes]] == expected


def test_a_mask_in_the_text_is_predicted_without_a_known_token(masked, tokenizer):
    reading = read_text(masked, tokenizer, "The <|mask|> is sorted")
    place = reading.trace.input_ids[0].tolist().index(tokenizer.mask_token_id)
    assert reading.predictions[place].log_probability is None
    assert reading.predictions[place - 1].log_probability is not None


def test_experts_off_reach_trace_and_predictions(causal, tokenizer):
    reading = read_text(causal, tokenizer, LINE, off={1: [0, 3], 0: []})
    assert reading.off == {1: (0, 3)}
    with experts_off(causal, {1: [0, 3]}):
        direct = trace_routing(causal, reading.trace.input_ids)
    assert (
        torch.equal(reading.trace.load(1), direct.load(1))
        and reading.trace.load(1)[[0, 3]].sum() == 0
    )
    whole = read_text(causal, tokenizer, LINE)
    changes = changed_predictions(whole, reading)
    pairs = [
        (a.ids[0], b.ids[0])
        for a, b in zip(
            (*whole.predictions[1:], whole.next),
            (*reading.predictions[1:], reading.next),
            strict=True,
        )
    ]
    assert (
        [change.position for change in changes]
        == [i for i, (a, b) in enumerate(pairs, 1) if a != b]
        != []
    )
    assert changed_predictions(whole, whole) == []


def test_long_text_is_cut_and_counted(causal, tokenizer):
    reading = read_text(causal, tokenizer, "word " * 30, max_tokens=10)
    total = len(tokenizer("word " * 30)["input_ids"])
    assert (len(reading), reading.n_cut) == (10, total - 10)
    assert "".join(reading.pieces) == reading.text == ("word " * 30)[: len(reading.text)]
    assert len(read_text(causal, tokenizer, "word " * 500)) == causal.config.max_position_embeddings


@pytest.mark.parametrize("make_model", [lambda: make(True), lambda: make(False)])
def test_no_text(make_model, tokenizer):
    reading = read_text(make_model(), tokenizer, "")
    assert len(reading) == 0 and reading.next is None and reading.mean_log_probability is None
    assert [layer.index for layer in reading.trace.layers] == [0, 1]
    assert reading.trace.load(0).tolist() == [0] * 8


def test_training_mode_is_left_as_it_was(causal, tokenizer):
    causal.train()
    read_text(causal, tokenizer, LINE)
    assert causal.training
    causal.eval()
    read_text(causal, tokenizer, LINE)
    assert not causal.training


def test_wrong_arguments_are_named(causal, masked, tokenizer):
    for bad in (0, -1):
        with pytest.raises(ValueError, match="^max_tokens"):
            read_text(causal, tokenizer, "a", max_tokens=bad)
    with pytest.raises(TypeError, match="^max_tokens"):
        read_text(causal, tokenizer, "a", max_tokens=2.5)
    with pytest.raises(TypeError, match="^text"):
        read_text(causal, tokenizer, b"a")
    with pytest.raises(TypeError, match="^tokenizer"):
        read_text(causal, str.split, "a")
    with pytest.raises(ValueError, match="^tokenizer"):
        read_text(LanguageModel(ModelConfig.preset("tiny", vocab_size=300)), tokenizer, "a")
    with pytest.raises(ValueError, match="^off"):
        read_text(causal, tokenizer, "a", off={9: [0]})
    with pytest.raises(ValueError, match="^off"):
        read_text(causal, tokenizer, "a", off={0: [99]})


@pytest.mark.parametrize("make_model", [lambda: make(True), lambda: make(False)])
def test_logits_that_are_no_numbers_are_refused(make_model, tokenizer):
    model = make_model()
    with torch.no_grad():
        model.head.weight[7] = torch.nan
    with pytest.raises(ValueError, match="^model: got 'NaN or infinity as logits'"):
        read_text(model, tokenizer, LINE)


def test_a_model_behind_wrappers_is_read_as_it_is(causal, tokenizer):
    plain = read_text(causal, tokenizer, LINE, off={1: (0,)}, k=1)
    again = read_text(
        torch.compile(torch.nn.DataParallel(causal)), tokenizer, LINE, 99, {1: [0]}, 1
    )
    assert again.predictions == plain.predictions and again.off == plain.off
