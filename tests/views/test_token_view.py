"""The token viewer: what it shows is the text, cut where the tokenizer cuts it, and safe to
display."""

import random
import re
from html import unescape

import pytest
from tokenizers import pre_tokenizers

from moe_lib.text import load_tokenizer
from moe_lib.views.token_view.table import TokenTable
from moe_lib.views.token_view.widget import (
    BYTE_OF,
    KINDS,
    MAX_SHOWN,
    TokenView,
    cut,
    summarise,
    tokens_html,
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def test_the_byte_signs_are_those_of_the_tokenizers_library():
    assert set(BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(BYTE_OF.values()) == list(range(256))
    for character in " é中🙂\n":
        ((sign, _),) = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        ).pre_tokenize_str(character)
        assert bytes(BYTE_OF[c] for c in sign) == character.encode()


def test_bytes_of_a_character_are_shown_in_hexadecimal(tokenizer):
    tokens = cut("🙂", tokenizer)
    assert {token.kind for token in tokens} == {"part"} and len(tokens) > 1
    assert bytes.fromhex(" ".join(token.label for token in tokens)) == "🙂".encode()
    assert {(token.place, token.whole) for token in tokens} == {((0, 1), "🙂")}
    assert tokens_html(tokens).count("🙂 = ") == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_tokens_together_are_the_text(tokenizer, seed):
    draw = random.Random(seed)
    text = "".join(draw.choice("ab c.1中é🙂\t\n\ufffd<>&") for _ in range(60))
    tokens = cut(text, tokenizer)
    assert [token.id for token in tokens] == tokenizer(text)["input_ids"]
    whole = {i for token in tokens if token.kind != "part" for i in range(*token.place)}
    parts = {i for token in tokens if token.kind == "part" for i in range(*token.place)}
    assert whole | parts == set(range(len(text))) and not whole & parts
    for token in tokens:
        if token.kind in ("one", "several"):
            assert tokenizer.decode([token.id]) == text[slice(*token.place)]
            assert (token.kind == "one") == (token.place[1] - token.place[0] == 1)


def test_special_tokens_are_read_or_taken_literally(tokenizer):
    assert [token.kind for token in cut("<|mask|>", tokenizer)] == ["special"]
    literal = cut("<|mask|>", tokenizer, split_special_tokens=True)
    assert all(token.kind != "special" for token in literal)
    assert "".join(token.label for token in literal) == "<|mask|>"


def test_markup_in_a_text_is_shown_and_not_obeyed(tokenizer):
    text = "<script>alert(1)</script> <img src=x onerror=alert(2)> \"'&amp;"
    view = TokenView(tokenizer, text)
    table = TokenTable({text: text}, {text: 1.0}, tokenizer)
    for page in (view.html(), view._repr_mimebundle_()["text/html"], table._repr_html_()):
        tags = {tag.split()[0].strip("</>") for tag in re.findall(r"<[^>]*>", page)}
        assert tags <= {
            "p",
            "strong",
            "div",
            "span",
            "sub",
            "br",
            "pre",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        }
        labels = re.findall(r'space:pre">(.*?)</span>', page)
        assert "".join(unescape(label) for label in labels).replace("␣", " ") == text


def test_the_view_follows_its_text(tokenizer):
    view = TokenView(tokenizer, "")
    assert view.tokens == [] and "no text" in view.summary
    view.text_area.value = "1024"
    assert [token.label for token in view.tokens] == ["1", "0", "2", "4"]
    assert (
        view.summary
        == "4 characters (4 bytes) became 4 tokens, 1.00 per character: 4 one character."
    )
    assert str(view.tokens[0].id) in view._boxes.value
    view.text = "a\tb\n"
    assert "⇥" in view.html() and "⏎" in view.html()


def test_static_display_has_words_and_html_beside_the_widget(tokenizer):
    view = TokenView(tokenizer, "Two words")
    bundle = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == view.summary and view.summary in bundle["text/html"]


def test_without_styles_the_tokens_stay_a_running_text(tokenizer):
    view = TokenView(tokenizer, "The list")  # GitHub keeps the tags and drops the styles
    page = tokens_html(view.tokens)
    assert "<br>" not in page and page.count("<sub") == len(view.tokens)
    assert "pre-wrap" not in page  # a label never breaks in the middle


def test_long_text_is_cut_and_says_so(tokenizer):
    page = tokens_html(cut("1" * (MAX_SHOWN + 7), tokenizer))
    assert page.count("title=") == MAX_SHOWN and "7 more tokens" in page


def test_every_kind_can_be_read_and_told_apart():
    from moe_lib.views.kit.palette import contrast

    assert all(contrast(fill, "#000000") > 10 for fill, _, _ in KINDS.values())
    assert len({border.split()[1] for _, border, _ in KINDS.values()}) == len(KINDS)


def test_table_shows_each_rate_once(tokenizer):
    table = TokenTable({"one": "a b", "two": "中"}, {"one": 0.5, "two": 3.0}, tokenizer)
    page = table._repr_html_()
    assert page.count("<tr>") == 3 and "0.500" in page and "3.000" in page
    assert "one: a | ␣b (0.500 per character)" in repr(table)


def test_wrong_arguments_are_named(tokenizer):
    with pytest.raises(TypeError, match="text: got 'int'"):
        cut(3, tokenizer)
    with pytest.raises(TypeError, match="tokenizer: got 'str'"):
        cut("a", "course")
    with pytest.raises(TypeError, match="text: got 'NoneType'"):
        TokenView(tokenizer).text = None
    with pytest.raises(ValueError, match="rates"):
        TokenTable({"one": "a"}, {}, tokenizer)
    assert summarise("a", cut("a", tokenizer)).startswith("1 character (1 byte) became 1 token,")
