"""Text: documents with a domain, a tokenizer, and batches of token ids.

    corpora = load_corpus("python")                      # a DatasetDict: "train" and "heldout"
    tokenizer = load_tokenizer()                         # the course's own, 4096 tokens
    packed = encode_corpus(corpora["train"], tokenizer, sequence_length=128)
    batches = Batches(packed, batch_size=16, objective="masked", tokenizer=tokenizer)
    batches.at(0)                                        # {"input_ids": ..., "labels": ...}

Names are imported on first use, and `datasets` and `transformers` inside the functions that need
them, so that `import moe_lib.text` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "SPECIAL_TOKENS": "tokenizer",
    "Batches": "batching",
    "MaskingIds": "masking",
    "Packed": "packing",
    "corpus_names": "corpora.load",
    "encode_corpus": "packing",
    "evaluation_batches": "batching",
    "load_corpus": "corpora.load",
    "load_products": "tasks",
    "load_task": "tasks",
    "load_tokenizer": "tokenizer",
    "mask_tokens": "masking",
    "near_duplicate_groups": "corpora.near_duplicates",
    "pack": "packing",
    "pad_batch": "packing",
    "task_names": "tasks",
    "train_tokenizer": "tokenizer",
}
__all__ = [
    "SPECIAL_TOKENS",
    "Batches",
    "MaskingIds",
    "Packed",
    "corpus_names",
    "encode_corpus",
    "evaluation_batches",
    "load_corpus",
    "load_products",
    "load_task",
    "load_tokenizer",
    "mask_tokens",
    "near_duplicate_groups",
    "pack",
    "pad_batch",
    "task_names",
    "train_tokenizer",
]

if TYPE_CHECKING:
    from moe_lib.text.batching import Batches, evaluation_batches
    from moe_lib.text.corpora.load import corpus_names, load_corpus
    from moe_lib.text.corpora.near_duplicates import near_duplicate_groups
    from moe_lib.text.masking import MaskingIds, mask_tokens
    from moe_lib.text.packing import Packed, encode_corpus, pack, pad_batch
    from moe_lib.text.tasks import load_products, load_task, task_names
    from moe_lib.text.tokenizer import SPECIAL_TOKENS, load_tokenizer, train_tokenizer


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"moe_lib.text.{_HOME[name]}"), name)
    raise AttributeError(
        f"module 'moe_lib.text' has no attribute {name!r}; it has: {', '.join(__all__)}"
    )


def __dir__():
    return sorted(set(globals()) | set(__all__))
