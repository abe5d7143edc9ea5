"""The light tokenizer answers what transformers' PreTrainedTokenizerFast answers, text by text."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from moe_lib.text import SPECIAL_TOKENS, load_tokenizer

OPTIONS = (
    {},
    {"split_special_tokens": True, "verbose": False},
    {"return_offsets_mapping": True, "add_special_tokens": False},
    {"return_attention_mask": False, "return_token_type_ids": False},
    {"return_tensors": "pt"},
    # Beyond what it answers itself.
    {"truncation": True, "max_length": 3},
    {"return_offsets_mapping": True, "return_tensors": "pt"},
    {"return_special_tokens_mask": True},
)
WORDS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from([*SPECIAL_TOKENS, " the", "list", "\n", "你好", "🙂"]), max_size=8
    ).map("".join),
)
FULL = load_tokenizer("mixture").to_transformers()


@pytest.fixture(scope="module", params=["course", "mixture", "mixture-small"])
def pair(request):
    """(the light one, transformers' one), of one name."""
    return load_tokenizer(request.param), load_tokenizer(request.param).to_transformers()


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS, min_size=1, max_size=3))
def test_a_call_gives_what_transformers_gives(options, texts):
    light = load_tokenizer("mixture")
    for text in (texts[0], texts):
        if "return_tensors" in options and not (text and isinstance(text, str)):
            continue  # no tensor can be made of different lengths, no whole numbers of nothing
        ours, theirs = light(text, **options), FULL(text, **options)
        assert list(ours) == list(theirs)
        for name in theirs:
            same = torch.equal if isinstance(theirs[name], torch.Tensor) else list.__eq__
            assert same(ours[name], theirs[name]), name
            assert ours[name] is getattr(ours, name)


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(0, len(FULL) - 1), max_size=30), skip=st.booleans())
def test_ids_back_into_text_and_tokens(ids, skip):
    light = load_tokenizer("mixture")
    assert light.decode(ids, skip) == FULL.decode(ids, skip)
    assert light.decode(torch.tensor(ids, dtype=torch.long), skip_special_tokens=skip) == (
        FULL.decode(ids, skip_special_tokens=skip)
    )
    tokens = light.convert_ids_to_tokens(ids)
    assert tokens == FULL.convert_ids_to_tokens(ids)
    assert light.convert_tokens_to_ids(tokens) == FULL.convert_tokens_to_ids(tokens) == ids
    assert light._full is None


def test_one_id_one_token_and_unknown_ones(pair):
    light, full = pair
    assert light.decode(40) == full.decode(40)
    assert light.convert_ids_to_tokens(40) == full.convert_ids_to_tokens(40)
    assert light.convert_ids_to_tokens(10**6) is full.convert_ids_to_tokens(10**6) is None
    assert light.convert_tokens_to_ids("<|mask|>") == full.convert_tokens_to_ids("<|mask|>")
    assert light.convert_tokens_to_ids("no such token") == (
        full.convert_tokens_to_ids("no such token")
    )


def test_what_it_says_of_itself(pair):
    light, full = pair
    names = [f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
    names += [f"{name}_id" for name in names]
    names += ["all_special_tokens", "all_special_ids", "vocab_size", "is_fast"]
    assert {name: getattr(light, name) for name in names} == {
        name: getattr(full, name) for name in names
    }
    assert len(light) == len(full)
    ours, theirs = light.added_tokens_decoder, full.added_tokens_decoder
    assert {i: (t.content, t.special) for i, t in ours.items()} == (
        {i: (t.content, t.special) for i, t in theirs.items()}
    )
    assert light.backend_tokenizer.to_str() == full.backend_tokenizer.to_str()


def test_beyond_that_transformers_answers_and_both_stay_one():
    tokenizer = load_tokenizer()
    assert tokenizer("a b").word_ids() == FULL("a b").word_ids()
    tokenizer.padding_side = "left"
    padded = tokenizer(["a", "a b c"], padding=True)["attention_mask"]
    assert padded[0] == [0] * (len(padded[1]) - 1) + [1]
    assert tokenizer.add_tokens(["<|new|>"]) == 1
    assert tokenizer("<|new|>").input_ids == [4096] and len(tokenizer) == 4097
    assert isinstance(tokenizer.to_transformers(), PreTrainedTokenizerFast)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tokenizer.no_such_name


def test_special_tokens_read_literally_once_are_not_ever_after():
    tokenizer = load_tokenizer()
    before = tokenizer("<|mask|>").input_ids
    assert tokenizer("<|mask|>", split_special_tokens=True).input_ids != before
    assert tokenizer("<|mask|>").input_ids == before


@pytest.mark.parametrize("again", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copied_and_pickled(again):
    tokenizer = load_tokenizer()
    assert again(tokenizer)("a <|mask|>").input_ids == tokenizer("a <|mask|>").input_ids


def test_tensors_go_to_a_device():
    encoded = load_tokenizer()("a b", return_tensors="pt").to("meta")
    assert encoded.input_ids.is_meta and encoded["attention_mask"].is_meta


def test_loading_and_calling_import_no_transformers():
    code = (
        "import sys; from moe_lib.text import load_tokenizer; t = load_tokenizer(); "
        "t.decode(t('a', return_tensors='pt').input_ids[0]); t.mask_token_id; "
        "print('transformers' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
