"""The course's tokenizers: byte-level byte-pair encoding, "course" (Python text), "mixture" (all
domains) and "mixture-small" (the same texts, fewer tokens).

`python -m moe_lib.text.tokenizer NAME` trains one again from the reader's own Python into
data/tokenizer/.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from moe_lib.console import Parser, run_command
from moe_lib.errors import require, require_texts, require_whole
from moe_lib.paths import DATA
from moe_lib.text.light_tokenizer import LightTokenizer
from moe_lib.text_files import path_of

# Their order is their id: <|pad|> is 0, <|end|> is 1, and so on.
SPECIAL_TOKENS = (
    "<|pad|>",
    "<|end|>",
    "<|mask|>",
    "<|start|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|sep|>",
    *(f"<|reserved_{number}|>" for number in range(8)),
)
VOCAB_SIZE = 4096
MIXTURE_VOCAB_SIZE = 6144
SMALL_VOCAB_SIZE = 1024
_FOLDERS = {
    "course": DATA / "tokenizer",
    "mixture": DATA / "tokenizer" / "mixture",
    "mixture-small": DATA / "tokenizer" / "mixture-small",
}
_ROLES = {
    "pad_token": "<|pad|>",
    "eos_token": "<|end|>",
    "mask_token": "<|mask|>",
    "bos_token": "<|start|>",
    "sep_token": "<|sep|>",
}


def train_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE):
    """Train a byte-level BPE tokenizer; it answers as a transformers.PreTrainedTokenizerFast does.

    Text is cut first, as in GPT-2, into words with their leading space, runs of punctuation and
    runs of spaces; every digit stands alone, so that a number always has as many tokens as digits.
    Merges never cross these cuts. All 256 bytes are tokens, so any text can be encoded, and
    decoding gives back that very text. Nothing is added at either end of a text. The same texts
    give the same tokenizer, byte for byte.

    Raises ValueError if `vocab_size` has no room for the 256 bytes and the special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    smallest = 256 + len(SPECIAL_TOKENS)
    require_whole("vocab_size", vocab_size)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size: got {vocab_size}; wants at least {smallest} (bytes, specials)"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    several = isinstance(texts, Iterable) and not isinstance(texts, str | bytes | Mapping)
    require(several, "texts", texts, "an iterable of texts", TypeError)
    texts = list(texts)
    require_texts("texts", texts)
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return _wrap(tokenizer)


def load_tokenizer(name_or_folder: str | Path = "course"):
    """Load a tokenizer: a name, or a folder with a tokenizer.json.

    "course" has 4096 tokens and knows Python text; "mixture" has 6144 and knows the written domains
    too, Chinese among them; "mixture-small" has 1024, learned from the same texts.

    The course's special tokens get their roles: pad_token, eos_token ("<|end|>"), mask_token,
    bos_token ("<|start|>"), sep_token. Such a tokenizer answers as transformers'
    PreTrainedTokenizerFast does, and imports transformers only for what `tokenizers` alone cannot
    answer (see LightTokenizer; `.to_transformers()` gives the other). Any other folder is read by
    transformers' AutoTokenizer. Nothing is downloaded.

    A special token written out in a text ("<|mask|>") is read as that token; pass
    split_special_tokens=True to read it as plain characters.

    Raises FileNotFoundError if there is no tokenizer.json, ValueError if it is damaged; both name
    the file.
    """
    from tokenizers import Tokenizer

    given = path_of("name_or_folder", name_or_folder)
    folder = _FOLDERS.get(str(name_or_folder), given)
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; wants {', '.join(_FOLDERS)} or a folder with a tokenizer.json"
        )
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception for a file it cannot read
        raise ValueError(f"{path}: not a readable tokenizer.json ({error})") from error
    if all(tokenizer.token_to_id(token) is not None for token in SPECIAL_TOKENS):
        return _wrap(tokenizer)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def _wrap(tokenizer) -> LightTokenizer:
    others = [token for token in SPECIAL_TOKENS if token not in _ROLES.values()]
    return LightTokenizer(tokenizer, _ROLES, others)


def main(arguments: list[str] | None = None) -> None:
    """Train on the training side of the texts and write tokenizer.json."""
    from moe_lib.text.corpora.load import load_corpus
    from moe_lib.text.corpora.mixture import mixture_texts

    parser = Parser(prog="python -m moe_lib.text.tokenizer", description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", choices=sorted(_FOLDERS), default="course")
    parser.add_argument("--out", type=Path, help="write it there instead of data/tokenizer/")
    chosen = parser.parse_args(arguments)
    if chosen.name == "course":
        texts, size = list(load_corpus("python", split="train")["text"]), VOCAB_SIZE
    else:
        texts, size = (
            mixture_texts(),
            MIXTURE_VOCAB_SIZE if chosen.name == "mixture" else SMALL_VOCAB_SIZE,
        )
    path = (chosen.out or _FOLDERS[chosen.name]) / "tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    train_tokenizer(texts, size).backend_tokenizer.save(str(path))
    print(f"wrote {size} tokens, learned from {len(texts)} texts, to {path}")


if __name__ == "__main__":
    sys.exit(run_command(main))
