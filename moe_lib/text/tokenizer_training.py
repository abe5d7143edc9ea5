"""Train one of the course's tokenizers again: `python -m moe_lib.text.tokenizer_training NAME`."""

import sys

from moe_lib.console import Parser, first_paragraph, new_folder, run_command
from moe_lib.text.corpora.load import load_corpus
from moe_lib.text.corpora.mixture import mixture_texts
from moe_lib.text.tokenizer import (
    FOLDERS,
    MIXTURE_VOCAB_SIZE,
    SMALL_VOCAB_SIZE,
    VOCAB_SIZE,
    train_tokenizer,
)
from moe_lib.text_files import write_bytes


def main(arguments: list[str] | None = None) -> None:
    """Train on the training side of the texts and write tokenizer.json."""
    parser = Parser(
        prog="python -m moe_lib.text.tokenizer_training", description=first_paragraph(__doc__)
    )
    parser.add_argument("name", nargs="?", choices=sorted(FOLDERS), default="course")
    parser.add_argument("--out", type=new_folder, help="write it there instead of data/tokenizer/")
    chosen = parser.parse_args(arguments)
    if chosen.name == "course":
        texts, size = list(load_corpus("python", split="train")["text"]), VOCAB_SIZE
    else:
        size = MIXTURE_VOCAB_SIZE if chosen.name == "mixture" else SMALL_VOCAB_SIZE
        texts = mixture_texts()
    path = (chosen.out or FOLDERS[chosen.name]) / "tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    learned = train_tokenizer(texts, size).backend_tokenizer
    write_bytes(path, learned.to_str(pretty=True).encode("utf-8"))
    print(f"wrote {size} tokens, learned from {len(texts)} texts, to {path}")


if __name__ == "__main__":
    sys.exit(run_command(main))
