"""The pictures show the counts of a trace made by hand."""

import warnings
from dataclasses import replace

import pytest
import torch

from moe_lib.views import affinity_figure, explorer_figure, load_figure, token_figure
from moe_lib.views.explorer.words import NO_TEXT, layer_words
from moe_lib.views.kit.wording import ordinal
from tests.views.conftest import EXPERTS, LOAD


def heights(ax) -> list[float]:
    return [bar.get_height() for bar in ax.containers[0]]


def test_load_bars_are_the_counts_and_the_line_the_even_split(reading):
    first, second = load_figure(reading.trace).axes
    assert heights(first) == LOAD
    assert heights(second) == [0, 0, 4, 4]
    assert list(first.lines[0].get_ydata()) == [2, 2]  # 8 choices over 4 experts
    assert "MaxVio 1.00" in first.get_title()  # 4 / 2 - 1


@pytest.mark.parametrize(
    "n_experts, choices, cut",
    [(4, [[0, 1], [0, 2], [0, 3], [0, 1]], False), (8, [[0, 1], [2, 3], [4, 5], [6, 7]], True)],
)
def test_the_shared_bar_stands_at_its_count_or_says_that_it_is_cut(
    reading, n_experts, choices, cut
):
    part = replace(reading.trace.layer(1), n_experts=n_experts, shared=True, n_shared=1)
    part = replace(part, experts=torch.tensor([choices]))  # 4 tokens
    ax = load_figure(replace(reading.trace, layers=[part])).axes[0]
    shared = ax.containers[1][0].get_height()
    assert shared == 4 if not cut else max(heights(ax)) < shared < 4
    assert [text.get_text() for text in ax.texts] == ["4"]
    assert ("cut" in ax.get_legend().get_texts()[-1].get_text()) == cut


@pytest.mark.parametrize("rank", [1, 2])
def test_every_token_carries_the_number_of_its_expert(reading, rank):
    texts = [text.get_text() for text in token_figure(reading, 1, rank).axes[0].texts]
    assert texts[0::2] == list(reading.labels)
    assert texts[1::2] == [str(experts[rank - 1]) for experts in EXPERTS]


def test_choosing_an_expert_colours_only_its_tokens(reading):
    chips = token_figure(reading, 1, 1, expert=1).axes[0].patches
    plain = [chip.get_facecolor()[:3] == (1, 1, 1) for chip in chips]
    assert plain == [1 not in experts for experts in EXPERTS]


def test_affinity_bars_are_the_scores(reading):
    figure = explorer_figure(reading, 1, 1, token=2)
    assert heights(figure.axes[2]) == pytest.approx([0.3, 0.1, 0.1, 0.5])


def test_heat_map_holds_the_scores_and_marks_the_chosen(reading):
    ax = affinity_figure(reading, 1).axes[0]
    assert ax.images[0].get_array().shape == (4, 4)
    assert [list(line.get_xdata()) for line in ax.lines] == EXPERTS


def test_text_that_matplotlib_cannot_draw_or_would_typeset_raises_no_warning(
    model, tokenizer, tmp_path
):
    from moe_lib.tracing import read_text

    odd = read_text(
        model, tokenizer, "中文 😀 שלום $x_{$ \\frac <b>&\t" + "word " * 300, max_tokens=200
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (
            explorer_figure(odd, 1, token=3),
            affinity_figure(odd, 0),
            explorer_figure(odd, 0),
        ):
            figure.savefig(tmp_path / "odd.png")
            assert (tmp_path / "odd.png").stat().st_size > 1000


def test_no_text_says_so(model, tokenizer, tmp_path):
    from moe_lib.tracing import read_text

    figure = explorer_figure(read_text(model, tokenizer, ""), 0)
    figure.savefig(tmp_path / "empty.png")
    assert NO_TEXT in [text.get_text() for text in figure.axes[0].texts]


def test_wrong_rank_or_layer_is_named(reading):
    with pytest.raises(ValueError, match="rank"):
        token_figure(reading, 1, 3)
    with pytest.raises(ValueError, match="layer"):
        token_figure(reading, 0)


def test_words_by_hand(reading):
    words = layer_words(reading, reading.trace.layer(1), 1)
    assert words.startswith("Layer 1, 1st choice: 4 tokens go to 3 of 4 experts.")
    assert (
        "expert 0 has the largest load, 4 of 8; an even split would give each 2.0 (MaxVio 1.00)"
        in words
    )
    assert "2 experts are not chosen" in layer_words(reading, reading.trace.layer(2), 2)
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "13th",
        "21st",
        "112th",
    ]
