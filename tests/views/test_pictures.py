"""A reader's words in still pictures and pages: as they stand, in any script, and a page in one
step."""

import json
import os
import re
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.tracing import Prediction
from moe_lib.views.attention_view.widget import AttentionViewer
from moe_lib.views.explorer.export import write_reading
from moe_lib.views.explorer.figure import explorer_figure
from moe_lib.views.explorer.payload import unpack
from moe_lib.views.kit.lettering import columns, drawable, keep_words, named, plain_words, shortened
from moe_lib.views.kit.wording import apart
from moe_lib.views.mask_playground.widget import MaskPlayground
from moe_lib.views.router_playground.widget import RouterPlayground
from moe_lib.views.token_view import TokenView
from moe_lib.views.tuning_comparator.widget import TuningComparator
from tests.views.comparisons import made_up

SCRIPTS = {
    "chinese": "今天天气很好，我们",
    "thai": "สวัสดีชาวโลก",
    "arabic": "مرحبا بالعالم",
    "hebrew": "שלום עולם",
    "emoji": "🙂👨\u200d👩\u200d👧 ok",
    "marks": "abc \u202edef\u2066 \u200f ghi",
    "mathematics": r"$x_1$ \frac{a}{b} a$b_{$ _hidden \alpha",
    "private": "\ue000 \uffff \U0010ffff",
}
NAMES = ("_a$b_{$", r"c$d^$ \x")


def words(figure):
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_every_widget_draws_any_script_without_boxes_or_warnings(model, tokenizer, text):
    torch.manual_seed(0)
    masked = LanguageModel(ModelConfig.preset("tiny", causal=False)).eval()
    mask = MaskPlayground(masked, tokenizer, text)
    mask.mask(range(len(mask.words)))
    name = text.replace(" ", "-")
    tasks = {name: made_up(cases=(name, "_" + name))}
    for widget in (
        explore(model, tokenizer, text, compare_text="b", names=(name, "_" + name)),
        mask,
        RouterPlayground(labels=[name] * 2, tokens=[[0, 0], [1, 1]]),
        AttentionViewer({name: model, "_b": model}, tokenizer, text),
        TuningComparator(tasks),
    ):
        assert widget.png().startswith(b"\x89PNG")
        assert not [one for one in words(widget.figure()) if "▯" in one or "\u202e" in one]


@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_stand_and_stay_in_the_legend(model, tokenizer):
    explorer = explore(model, tokenizer, "One text.", compare_text="Another.", names=NAMES)
    figure = explorer.figure()
    legend = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert legend[:3] == ["even split", *NAMES]
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())
    figure.draw_without_rendering()


def test_codes_stand_for_what_no_font_has_and_the_picture_says_so_once():
    @plain_words
    def draw(*lines):
        figure = Figure()
        for place, line in enumerate(lines):
            figure.text(0.1, 0.1 * place, line)
        return figure

    shown = words(draw("\U0010fffe", "\U0010fffe again", "plain"))
    assert shown[1:4] == ["[U+10FFFE]", "[U+10FFFE] again", "plain"] or "[U+10FFFE]" in shown
    assert sum("cannot be drawn" in one for one in shown) == 1
    assert not [one for one in words(draw("plain")) if "cannot be drawn" in one]


def test_labels_of_ticks_too_but_not_those_of_powers():
    ax = Figure().subplots()
    ax.set_xscale("log")
    ax.set_yticks([0, 1], ["$a_b$", "\U0010fffe"])
    keep_words(ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["$a_b$", "[U+10FFFE]"]
    assert not any(label.get_parse_math() for label in ax.get_yticklabels())
    assert all(label.get_parse_math() for label in ax.get_xticklabels())


def test_words_are_cut_by_columns_and_codes_as_a_whole():
    assert (columns("ab"), columns("今天")) == (2, 4)
    assert shortened("今" * 20, 10) == "今" * 4 + "…"
    assert shortened("ab\U0010fffe", 8) == "ab…"
    assert drawable("a\nb\u2068c\u2069") == "a\nbc"
    assert drawable(named("_x")) == "_x" and named("x") == "x"


def test_words_that_turn_a_line_stand_apart():
    assert apart("plain $x$ 今天") == "plain $x$ 今天"
    for one in ("مرحبا", "שלום", "a\u202eb", "\u200fa"):
        assert apart(one) == f"\u2068{one}\u2069"


def test_names_do_not_turn_the_words_of_the_comparator():
    comparator = TuningComparator({"משימה": made_up(cases=("full", "LoRA מ", "head"))})
    apart_names = {"\u2068LoRA מ\u2069", "\u2068משימה\u2069"}
    assert all(name in comparator.summary for name in apart_names)
    assert "LoRA מ" not in comparator.summary.replace("\u2068LoRA מ\u2069", "")


# Pages


def state_of(page):
    text = page.read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="state">(.*?)</script>', text, re.DOTALL)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return text, json.loads(data.group(1), parse_constant=refuse)


def test_empty_lines_at_the_start_and_turning_names_keep_their_place(model, tokenizer, tmp_path):
    text = "\n\nfirst lines are empty"
    explorer = explore(model, tokenizer, text, compare_text="b", names=("\u202eone", "two"))
    page, state = state_of(explorer.save_html(tmp_path / "page.html"))
    assert f'dir="auto">\n{text}</pre>' in page  # a parser drops the first line end
    assert "<bdi>\u202eone</bdi>" in page
    assert state["comparison"]["names"] == ["\u202eone", "two"]
    assert "“\u2068\u202eone\u2069”" in explorer.summary
    assert (
        f'dir="auto">\n{text}</pre>' in TokenView(tokenizer, text)._repr_mimebundle_()["text/html"]
    )


def test_a_model_that_gives_nan_is_refused_by_name(tokenizer):
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig.preset("tiny", tie_word_embeddings=False)).eval()
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="model: got 'NaN"):
        explore(model, tokenizer, "The list is sorted.")


def test_predictions_and_affinities_that_are_no_numbers_are_left_out_and_said(reading, tmp_path):
    nan = float("nan")
    lost = Prediction((1, 2, 3), ("a", "b", "c"), (nan, nan, nan), nan)
    first = reading.trace.layers[0]
    trace = replace(
        reading.trace,
        layers=[replace(first, scores=first.scores * nan), *reading.trace.layers[1:]],
    )
    reading = replace(reading, trace=trace, predictions=(None, lost, lost, lost), next=lost)
    _, state = state_of(write_reading(tmp_path / "page.html", reading))
    sent = state["payload"]
    assert sent["predictions"] == [None] * 4 and sent["next"] is None and sent["loss"] is None
    assert unpack(sent["layers"][0]["scores"]).tolist() == [0.0] * 16
    assert "no numbers (NaN or infinity) for 4 of 4 predictions" in sent["note"]
    assert "Affinities or weights of layer 1 are no numbers" in sent["note"]
    caption = words(explorer_figure(reading, 1))
    assert any("for 4 of 4 predictions" in " ".join(one.split()) for one in caption)


def test_a_page_that_cannot_be_written_leaves_the_old_one(model, tokenizer, tmp_path, monkeypatch):
    explorer = explore(model, tokenizer, "One text.")
    page = explorer.save_html(tmp_path / "page.html")
    before = page.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            explorer.save_html(page)
    assert page.read_bytes() == before and list(tmp_path.iterdir()) == [page]
    with pytest.raises(ValueError, match="path: got"):
        explorer.save_html(tmp_path)
    assert explorer.save_html(tmp_path / "new" / "page.html").is_file()
