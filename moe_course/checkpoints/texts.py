"""What the recipes of the checkpoints read: rows to train on, and held-out text to measure on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from moe_lib.text import Packed, encode_corpus, evaluation_batches, load_corpus, load_tokenizer
from moe_lib.text.corpora.mixture import repeat_written

if TYPE_CHECKING:
    from moe_course.checkpoints.recipes import Recipe

SAMPLE = 256  # held-out rows for the curve


@dataclass(frozen=True)
class Texts:
    """What a recipe reads: its training rows, its held-out documents, and what is looked at while a
    model trains, held-out rows for the loss (`watched_loss`, batches) and rows of every domain for
    the routing (`watched_routing`, input ids), both None without `evaluate_every`."""

    tokenizer: object
    train: Packed
    heldout: object  # a datasets.Dataset
    watched_loss: list[dict] | None
    watched_routing: torch.Tensor | None

    @classmethod
    def of(cls, recipe: "Recipe") -> "Texts":
        from datasets import concatenate_datasets

        tokenizer, corpus = load_tokenizer(recipe.tokenizer), load_corpus(recipe.corpus)
        train, heldout = repeat_written(corpus["train"], recipe.written_times), corpus["heldout"]
        if recipe.package_docs:
            docs = load_corpus("package_docs")
            train = concatenate_datasets([train, docs["train"]])
            heldout = concatenate_datasets([heldout, docs["heldout"]])
        rows = encode_corpus(train, tokenizer, recipe.sequence_length)
        return cls(tokenizer, rows, heldout, *_watched(heldout, recipe, tokenizer))


def _watched(heldout, recipe: "Recipe", tokenizer) -> tuple[list[dict] | None, torch.Tensor | None]:
    if not recipe.evaluate_every:
        return None, None
    mixed = encode_corpus(heldout, tokenizer, recipe.sequence_length).input_ids
    order = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    loss = evaluation_batches(
        mixed[order], 32, seed=1, objective=recipe.objective, tokenizer=tokenizer
    )
    parts = [
        encode_corpus(_of_domain(heldout, domain), tokenizer, recipe.sequence_length).input_ids[:4]
        for domain in sorted(set(heldout["domain"]))
    ]
    return loss, torch.cat(parts)


def _of_domain(documents, domain: str):
    return documents.select([i for i, own in enumerate(documents["domain"]) if own == domain])


def held_out_batches(texts: Texts, domain: str, recipe: "Recipe", rows: int | None) -> list[dict]:
    """Batches of the held-out documents of one domain, or of "all"."""
    documents = texts.heldout if domain == "all" else _of_domain(texts.heldout, domain)
    input_ids = encode_corpus(documents, texts.tokenizer, recipe.sequence_length).input_ids[:rows]
    return evaluation_batches(
        input_ids, 32, seed=1, objective=recipe.objective, tokenizer=texts.tokenizer
    )
