"""The mask playground in code: words, predictions against a plain forward pass, messages, errors,
picture, colours."""

import time

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import load_tokenizer
from moe_lib.tracing.masked_words import rows_of, split_words
from moe_lib.views.kit.palette import contrast
from moe_lib.views.mask_playground.figure import GUESS, TRUE
from moe_lib.views.mask_playground.widget import EXAMPLE, MaskPlayground

CODE = "def area(radius):\n    return 3.14 * radius ** 2  # the_end\n"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", causal=False, initializer_range=0.2)).eval()


@pytest.fixture
def playground(model, tokenizer):
    return MaskPlayground(model, tokenizer, EXAMPLE)


ODD = "你好，世界 🙂🙂 naïve e\u0301\t<|mask|> <|end|>"


@pytest.mark.parametrize("text", [EXAMPLE, CODE, "", "  \n", ODD, "a" * 300])
def test_words_are_whole_tokens_and_give_back_the_text(tokenizer, text):
    ids, words, tail, cut = split_words(text, tokenizer, 10_000)
    assert "".join(word.gap + word.text for word in words) + tail == text and cut == 0
    assert not any(word.gap.strip() for word in words) and all(
        word.text.strip() == word.text != "" for word in words
    )
    taken = [position for word in words for position in range(word.first, word.last)]
    assert taken == sorted(set(taken)) and set(taken) <= set(range(len(ids)))
    left = [ids[position] for position in set(range(len(ids))) - set(taken)]
    assert tokenizer.decode(left).strip() == "", "only white space stands outside the words"


def test_words_end_at_spaces_and_signs(tokenizer):
    _, words, _, _ = split_words(CODE, tokenizer, 100)
    assert [word.text for word in words][:6] == ["def", "area", "(", "radius", "):", "return"]


def test_typed_special_tokens_are_plain_text(tokenizer):
    ids, _, _, _ = split_words("a <|mask|> b", tokenizer, 100)
    assert tokenizer.mask_token_id not in ids


def test_predictions_are_those_of_a_plain_forward_pass(playground, model, tokenizer):
    playground.mask([2, 8])
    ids = torch.tensor([tokenizer(EXAMPLE)["input_ids"]])
    positions = [p.position for p in playground.predictions]
    expected = [
        at
        for word in (2, 8)
        for at in range(playground.words[word].first, playground.words[word].last)
    ]
    assert positions == expected and playground.masked == [2, 8]
    corrupted, labels = ids.clone(), torch.full_like(ids, -100)
    corrupted[0, positions], labels[0, positions] = tokenizer.mask_token_id, ids[0, positions]
    with torch.no_grad():
        output = model(corrupted, labels=labels)
    assert playground.loss == pytest.approx(output.loss.item(), rel=1e-5)
    probabilities = output.logits[0].softmax(-1)
    for p in playground.predictions:
        assert p.true_id == ids[0, p.position]
        assert p.probabilities == pytest.approx(
            sorted(probabilities[p.position].tolist(), reverse=True)[:5], rel=1e-4
        )
        assert [probabilities[p.position, token].item() for token in p.ids] == pytest.approx(
            p.probabilities, rel=1e-4
        )
        assert p.true_rank == 1 + int(
            (probabilities[p.position] > probabilities[p.position, p.true_id]).sum()
        )


def test_the_true_token_always_has_a_bar(playground):
    playground.mask(range(len(playground.words)))
    for p in playground.predictions:
        true = [row for row in rows_of(p) if row["true"]]
        assert len(true) == 1 and true[0]["rank"] == p.true_rank and len(rows_of(p)) in (5, 6)


def test_a_word_of_several_tokens_is_masked_as_a_whole_and_says_so(model, tokenizer):
    playground = MaskPlayground(model, tokenizer, "Zyxwvut is rare.")
    n_tokens = playground.words[0].last - playground.words[0].first
    assert n_tokens > 1
    playground.mask([0])
    assert [p.part for p in playground.predictions] == [
        f"token {n} of {n_tokens}" for n in range(1, n_tokens + 1)
    ]
    assert f"token 1 of {n_tokens}" in playground.summary


def test_mask_adds_and_unmask_removes(playground):
    playground.mask([3])
    playground.mask([5, 1])
    assert playground.masked == [1, 3, 5]
    playground.unmask([3])
    assert playground.masked == [1, 5]
    playground.unmask()
    assert playground.masked == playground.predictions == [] and playground.loss is None
    assert "No word is masked" in playground.summary


def test_masks_stay_on_their_words_when_the_text_changes(playground):
    playground.mask([1, 4])
    kept = [playground.words[word].text for word in playground.masked]
    playground.text = "Indeed: " + EXAMPLE
    assert [
        playground.words[word].text for word in playground.masked
    ] == kept and playground.masked != [1, 4]
    playground.text = ""
    assert playground.masked == [] and "no text" in playground.summary


def test_messages_of_the_page(playground):
    playground.receive({"masked": [2]})
    assert (
        playground.masked == [2]
        and playground.view["masked"] == [2]
        and len(playground.view["cards"]) >= 1
    )
    playground.receive({"masked": [999]})
    assert "999" in playground.view["problem"] and playground.masked == [2]
    playground.receive({"text": "Short text."})
    assert playground.text == "Short text." and playground.view["problem"] == ""


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([99], ValueError),
        ([-1], ValueError),
        ([1.0], TypeError),
        ("1", TypeError),
        (3, TypeError),
        ([True], TypeError),
    ],
)
def test_wrong_words_are_named_and_change_nothing(playground, words, error):
    playground.mask([1])
    with pytest.raises(error, match="words"):
        playground.mask(words)
    assert playground.masked == [1]


def test_wrong_arguments_are_named(model, tokenizer):
    causal = LanguageModel(ModelConfig.preset("tiny"))
    small = LanguageModel(ModelConfig.preset("tiny", causal=False, vocab_size=100))
    wrong = (
        ((causal, tokenizer), ValueError, "model"),
        ((None, tokenizer), TypeError, "model"),
        ((model, None), TypeError, "tokenizer"),
        ((small, tokenizer), ValueError, "tokenizer"),
        ((model, tokenizer, 5), TypeError, "text"),
    )
    for arguments, error, name in wrong:
        with pytest.raises(error, match=name):
            MaskPlayground(*arguments)


def test_a_long_text_is_cut_and_an_update_is_quick(playground):
    playground.text = EXAMPLE * 50
    assert len(playground._ids) == 256 and "were not read" in playground.summary
    text = torch.tensor([playground._ids])
    updates, passes = [], []
    for word in range(5):  # the best of five, side by side: other programs may hold the machine up
        updates.append(seconds(lambda word=word: playground.mask([word])))
        passes.append(seconds(lambda: playground._model(text)))
    assert min(updates) < 5 * min(passes), (
        "an update costs little more than one look of the model at the text"
    )


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_picture_and_words_stand_beside_the_live_view(playground):
    playground.mask([2])
    data, metadata = playground._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
    assert metadata["image/png"]["alt"] == playground.summary and "nats" in playground.summary
    assert playground.png() == playground.png()


@pytest.mark.parametrize("text", [EXAMPLE * 5, CODE, "", "你好 🙂 $x$ <b>"])
@pytest.mark.filterwarnings("error")
def test_any_text_can_be_drawn(model, tokenizer, text):
    playground = MaskPlayground(model, tokenizer, text)
    playground.mask(range(len(playground.words)))
    assert playground.png().startswith(b"\x89PNG")


def test_training_mode_is_left_as_it_was(tokenizer, model):
    model.train()
    MaskPlayground(model, tokenizer).mask([0])
    assert model.training
    model.eval()


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_bars_stand_out_in_both_themes(ground):
    assert contrast(GUESS, ground) >= 3 and contrast(TRUE, ground) >= 3
