"""The tokenizer: any text comes back, training repeats byte for byte, special tokens keep their
ids."""

import random
import unicodedata

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from moe_lib.text import SPECIAL_TOKENS, load_corpus, load_tokenizer, train_tokenizer

NASTY = [
    "",
    " ",
    "\t",
    "\r\n",
    "\x00\x07\x1b",
    "tab\tand  spaces   \n\n\n",
    "你好,世界。",
    "🙂🙃👩‍👩‍👧‍👦🇨🇭",
    "e\u0301 é",
    "\u2028\u2029\u200b\ufeff",
    "1234567890 3.14",
    "<|end|><|pad|>",
    "a" * 5000,
    "\U0010ffff",
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def round_trip(tokenizer, text):
    return tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"])


def test_special_tokens_have_their_ids_and_roles(tokenizer):
    assert isinstance(load_tokenizer().to_transformers(), PreTrainedTokenizerFast)
    assert len(tokenizer) == 4096
    assert tokenizer.convert_ids_to_tokens(list(range(16))) == list(SPECIAL_TOKENS)
    assert SPECIAL_TOKENS[:4] == ("<|pad|>", "<|end|>", "<|mask|>", "<|start|>")
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id) == (0, 1, 2)
    assert sorted(tokenizer.all_special_ids) == list(range(16))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_awkward_text_comes_back(tokenizer, text):
    assert round_trip(tokenizer, text) == text


def test_random_unicode_comes_back(tokenizer):
    rng = random.Random(0)
    for _ in range(500):
        length = rng.randrange(40)
        characters = []
        while len(characters) < length:
            character = chr(
                rng.choice([rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000)])
            )
            if unicodedata.category(character) != "Cs":  # half a surrogate pair is no text
                characters.append(character)
        text = "".join(characters)
        assert round_trip(tokenizer, text) == text


def test_nothing_is_added_and_special_tokens_can_be_read_either_way(tokenizer):
    assert tokenizer("").input_ids == []
    assert tokenizer("<|mask|>").input_ids == [tokenizer.mask_token_id]
    assert tokenizer.mask_token_id not in tokenizer("<|mask|>", split_special_tokens=True).input_ids
    ids = [tokenizer.bos_token_id, *tokenizer("Hello").input_ids, tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Hello"


def test_offsets_point_into_the_text(tokenizer):
    text = "The router chose 2 of 16 experts.\n\treturn x"
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert "".join(text[start:end] for start, end in offsets) == text


def test_digits_stand_alone(tokenizer):
    for number in ("7", "42", "1024", "99999999"):
        assert len(tokenizer(number).input_ids) == len(number)


def test_held_out_text_is_compressed(tokenizer):
    held_out = load_corpus("python_docstrings", split="heldout")
    texts = list(held_out["text"])
    tokens = sum(map(len, tokenizer(texts, split_special_tokens=True, verbose=False)["input_ids"]))
    assert tokens / sum(map(len, texts)) < 0.35


def test_training_twice_gives_the_same_file(tmp_path):
    texts = load_corpus("python_docstrings", split="train", limit=300)["text"]
    saved = []
    for number in range(2):
        trained = train_tokenizer(list(texts), vocab_size=600)
        trained.backend_tokenizer.save(str(tmp_path / f"{number}.json"))
        saved.append((tmp_path / f"{number}.json").read_bytes())
    assert saved[0] == saved[1] and len(trained) == 600


def test_first_merge_is_the_most_frequent_pair():
    # Worked by hand: the pair (a, b) occurs 5 times, (b, c) once, so (a, b) merges first.
    trained = train_tokenizer(["ab ab ab ab abc"], vocab_size=16 + 256 + 1)
    assert trained.convert_ids_to_tokens([16 + 256]) == ["ab"]


def test_saved_with_a_checkpoint_it_loads_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    text = "def f(x):\n    return x + 41  # <|mask|> 你好"
    for loaded in (load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert loaded(text).input_ids == tokenizer(text).input_ids
        assert loaded.mask_token_id == 2 and loaded.eos_token_id == 1


def test_missing_and_damaged_files_name_themselves(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"tokenizer\.json: no such file; wants course, mixture"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a readable tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a readable tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="vocab_size: got 100; wants at least 272"):
        train_tokenizer(["text"], vocab_size=100)
