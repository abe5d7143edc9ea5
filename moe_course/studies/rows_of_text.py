"""What `experts_on_text` reads: rows of the mixture and of the packages' docstrings."""

from dataclasses import dataclass

import torch

from moe_lib.text import encode_corpus, evaluation_batches, load_corpus, load_tokenizer
from moe_lib.text.corpora.mixture import repeat_written
from moe_lib.validation import Count, checked

EPOCHS = 5  # of "again"
STEPS, BATCH, LENGTH = 8000, 16, 128
HELD_OUT = 256  # rows of held-out text


@dataclass(frozen=True)
class Texts:
    """once and again: rows (n, 128) to train on; exam: held-out batches; seen: batches of rows that
    "again" trains on."""

    once: torch.Tensor
    again: torch.Tensor
    exam: list[dict]
    seen: list[dict]

    @classmethod
    @checked
    def load(cls, steps: Count = STEPS, limit: Count | None = None) -> "Texts":
        """The texts of the study; `limit` documents of each corpus, to try it out."""
        from datasets import concatenate_datasets

        parts = [load_corpus(name, limit=limit) for name in ("mixture", "package_docs")]
        tokenizer = load_tokenizer("mixture-small")
        written = repeat_written(parts[0]["train"])
        practice = concatenate_datasets([written, parts[1]["train"]])
        held_out = concatenate_datasets([part["heldout"] for part in parts])
        rows, exam = (encode_corpus(d, tokenizer, LENGTH).input_ids for d in (practice, held_out))
        draw = torch.Generator().manual_seed(0)
        exam = exam[torch.randperm(len(exam), generator=draw)[:HELD_OUT]]
        again = rows[torch.randperm(len(rows), generator=draw)[: max(1, steps * BATCH // EPOCHS)]]
        batches = (evaluation_batches(some, 32) for some in (exam, again[:HELD_OUT]))
        return cls(rows, again, *batches)
