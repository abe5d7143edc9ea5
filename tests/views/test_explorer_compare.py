"""Two texts in one model, one text in two models: the explorer driven by code."""

import base64

import pytest
import torch

from moe_lib import LanguageModel, explore
from moe_lib.tracing import compare_readings, read_text
from moe_lib.views.explorer.payload import unpack

TEXT = "The list is sorted in place, and None is returned."
OTHER = "for row in table:\n    print(row)"


@pytest.fixture
def explorer(model, tokenizer):
    return explore(model, tokenizer, TEXT, compare_text=OTHER)


@pytest.fixture(scope="module")
def twin(model):
    torch.manual_seed(7)
    return LanguageModel(model.config)


def test_two_texts_are_read_and_compared(explorer, model, tokenizer):
    direct = compare_readings(read_text(model, tokenizer, TEXT), read_text(model, tokenizer, OTHER))
    assert explorer.comparison == direct and not direct.same_tokens
    assert (explorer.compared.text, explorer.compare_text) == (OTHER, OTHER)
    distance = f"{direct.layer(0).total_variation:.2f}"
    assert (
        f"total variation distance of {distance}" in explorer.summary
        and "“Second text”" in explorer.summary
    )
    sent = explorer.panel.comparison
    assert unpack({"data": sent["other"]["layers"][1]["experts"], "scale": 1}).tolist() == (
        explorer.compared.trace.layer(1).experts.flatten().tolist()
    )
    assert sent["words"]["0"] in explorer.summary and sent["names"] == ["First text", "Second text"]
    explorer.layer = 1
    assert sent["words"]["1"] in explorer.summary


def test_one_text_is_as_simple_as_it_was(model, tokenizer):
    explorer = explore(model, tokenizer, TEXT)
    assert explorer.compare_area.layout.display == "none" and explorer.compare_text is None
    assert (
        explorer.compared is None
        and explorer.comparison is None
        and explorer.panel.comparison == {}
    )
    assert "against" not in explorer.summary


def test_the_second_text_comes_and_goes_through_the_controls(model, tokenizer):
    explorer = explore(model, tokenizer, TEXT)
    explorer.compare_button.value = True
    assert explorer.compare_area.layout.display is None and len(explorer.compared) == 0
    assert (
        explorer.comparison is None and explorer.panel.comparison["words"] == {}
    )  # nothing typed yet
    explorer.compare_area.value = OTHER
    assert explorer.compared.text == OTHER and explorer.comparison is not None
    explorer.select_token(2, compared=True)
    experts = explorer.compared.trace.layer(0).experts[0, 2].tolist()
    assert (
        f"Token 2, “{explorer.compared.labels[2]}”, is sent to expert {experts[0]}"
        in explorer.summary
    )
    explorer.compare_text = None
    assert (
        explorer.compared is None
        and explorer.selected["token"] is None
        and not explorer.compare_button.value
    )


def test_the_same_text_twice_is_the_same_everywhere(explorer):
    explorer.compare_text = TEXT
    assert explorer.comparison.same_tokens
    assert [(one.total_variation, one.overlap) for one in explorer.comparison.layers] == [
        (0.0, pytest.approx(1))
    ] * 2
    assert "100 % have the same number in both" in explorer.summary


def test_what_if_reaches_both_texts(explorer, model, tokenizer):
    explorer.switch_off([3])
    explorer.k = 3
    direct = [
        read_text(model, tokenizer, text, off={0: [3]}, k=3).trace.load(1) for text in (TEXT, OTHER)
    ]
    shown = [one.trace.load(1) for one in (explorer.reading, explorer.compared)]
    assert all(torch.equal(a, b) for a, b in zip(direct, shown, strict=True))


def test_two_models_on_one_text(model, twin, tokenizer):
    explorer = explore(model, tokenizer, TEXT, compare_model=twin, names=("trained", "twin"))
    assert explorer.compare_button.layout.display == "none"
    layer = explorer.comparison.layer(0)
    assert explorer.comparison.same_tokens and layer.overlap is not None
    assert (
        f"after the best renumbering it is {100 * layer.renumbered_overlap:.0f} %"
        in explorer.summary
    )
    before = explorer.compared
    explorer.k = 4  # of the first model alone
    assert explorer.compared is before and explorer.reading.trace.layer(0).experts.shape[-1] == 4
    explorer.text = "print"
    assert explorer.compared.text == "print" and explorer.comparison.same_tokens
    explorer.text = ""
    assert explorer.comparison is None and explorer.summary


def test_picture_page_and_words_hold_both(explorer, tmp_path):
    data, _ = explorer._repr_mimebundle_()
    alone = len(base64.b64decode(data["image/png"]))
    assert alone > 1000 and explorer.png() == explorer.png()
    titles = [ax.get_title(loc="left") for ax in explorer.figure().axes]
    assert [title for title in titles if "Second text" in title]
    page = explorer.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "print(row)</pre>" in page and '"names": ["First text", "Second text"]' in page
    explorer.select_token(1, compared=True)
    assert any("Token 1" in ax.get_title() for ax in explorer.figure().axes)


@pytest.mark.parametrize(
    ("action", "error", "name"),
    [
        (lambda e: setattr(e, "compare_text", 3), TypeError, "compare_text"),
        (lambda e: e.select_token(1000, compared=True), ValueError, "token"),
    ],
)
def test_wrong_values_are_named(explorer, action, error, name):
    with pytest.raises(error, match=f"^{name}"):
        action(explorer)


def test_wrong_arguments_are_named(model, twin, tokenizer):
    with pytest.raises(ValueError, match="^compare_text"):
        explore(model, tokenizer, TEXT, compare_text=OTHER, compare_model=twin)
    with pytest.raises(TypeError, match="^compare_text"):
        explore(model, tokenizer, TEXT, compare_text=3)
    with pytest.raises(ValueError, match="^compare_text"):
        explore(model, tokenizer, TEXT, compare_model=twin).compare_text = OTHER
    with pytest.raises(ValueError, match="^compared"):
        explore(model, tokenizer, TEXT).select_token(0, compared=True)
    with pytest.raises(TypeError, match="^compare_model"):
        explore(model, tokenizer, TEXT, compare_model="a model")
