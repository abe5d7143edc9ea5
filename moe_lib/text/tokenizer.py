"""The course's tokenizers: byte-level byte-pair encoding, "course" (Python text), "mixture" (all
domains) and "mixture-small" (the same texts, fewer tokens).
`tokenizer_training` makes them anew.
"""

from collections.abc import Iterable
from pathlib import Path

from moe_lib.errors import require, require_texts
from moe_lib.files import finish_folder
from moe_lib.paths import DATA
from moe_lib.text.light_tokenizer import LightTokenizer
from moe_lib.text_files import path_of, require_regular_files
from moe_lib.validation import Count, checked

# The place in the list is the id: <|pad|> is 0, <|end|> is 1, and so on.
_WORDS = ("pad", "end", "mask", "start", "system", "user", "assistant", "sep")
_WORDS += tuple(f"reserved_{number}" for number in range(8))
SPECIAL_TOKENS = tuple(f"<|{word}|>" for word in _WORDS)
VOCAB_SIZE = 4096
MIXTURE_VOCAB_SIZE = 6144
SMALL_VOCAB_SIZE = 1024
FOLDERS = {"course": DATA / "tokenizer"}
FOLDERS |= {name: DATA / "tokenizer" / name for name in ("mixture", "mixture-small")}
_ROLES = {"pad_token": "<|pad|>", "eos_token": "<|end|>", "mask_token": "<|mask|>"}
_ROLES |= {"bos_token": "<|start|>", "sep_token": "<|sep|>"}
_OTHERS = [token for token in SPECIAL_TOKENS if token not in _ROLES.values()]


@checked
def train_tokenizer(texts: Iterable, vocab_size: Count = VOCAB_SIZE) -> LightTokenizer:
    """Train a byte-level BPE tokenizer.

    Text is cut first, as in GPT-2, into words with their leading space, runs of punctuation and
    runs of spaces; every digit stands alone, so that a number always has as many tokens as digits.
    Merges never cross these cuts. All 256 bytes are tokens, so any text can be encoded, and
    decoding gives back that very text. Nothing is added at either end of a text. The same texts
    give the same tokenizer, byte for byte. Raises ValueError if `vocab_size` has no room for the
    256 bytes and the special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    smallest = 256 + len(SPECIAL_TOKENS)
    wants = f"at least {smallest} (bytes, specials)"
    require(vocab_size >= smallest, "vocab_size", vocab_size, wants)
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    tokens = dict(special_tokens=list(SPECIAL_TOKENS), initial_alphabet=words.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **tokens)
    texts = list(texts)
    require_texts("texts", texts)
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return LightTokenizer(tokenizer, _ROLES, _OTHERS)


def load_tokenizer(name_or_folder: str | Path = "course"):
    """Load a tokenizer: a name, or a folder with a tokenizer.json. Nothing is downloaded.

    "course" has 4096 tokens and knows Python text; "mixture" has 6144 and knows the written domains
    too, Chinese among them; "mixture-small" has 1024, learned from the same texts.

    The course's special tokens get their roles: pad_token, eos_token ("<|end|>"), mask_token,
    bos_token ("<|start|>"), sep_token. Such a tokenizer is a LightTokenizer, which answers as
    transformers' PreTrainedTokenizerFast does; any other folder is read by AutoTokenizer.

    A special token written out in a text ("<|mask|>") is read as that token; pass
    split_special_tokens=True to read it as plain characters. Raises FileNotFoundError if there is
    no tokenizer.json, ValueError if it is damaged; both name the file.
    """
    from tokenizers import Tokenizer

    given = path_of("name_or_folder", name_or_folder)
    folder = FOLDERS.get(str(name_or_folder), given)
    path = folder / "tokenizer.json"
    finish_folder(folder)
    if not path.is_file():
        wants = f"{', '.join(FOLDERS)} or a folder with a tokenizer.json"
        raise FileNotFoundError(f"{path}: no such file; wants {wants}")
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception for a file it cannot read
        raise ValueError(f"{path}: not a readable tokenizer.json ({error})") from error
    if all(tokenizer.token_to_id(token) is not None for token in SPECIAL_TOKENS):
        return LightTokenizer(tokenizer, _ROLES, _OTHERS)
    require_regular_files(folder)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
