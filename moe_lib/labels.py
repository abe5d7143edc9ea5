"""Labels: the number that means "nothing to predict here", how many examples a mean loss runs
over, and the parts of a batch."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from moe_lib.errors import require

IGNORED = -100  # a label that takes no part in the loss, as in torch and transformers


def count_examples(model: nn.Module, labels: Tensor) -> int:
    """How many examples `model`'s mean loss runs over: what a mean must be weighed by to join it
    with others.

    A task head says so itself. For a language model it is the labelled positions; a causal one does
    not predict its first. ValueError for labels of a shape that no example has.
    """
    shape, several = tuple(labels.shape), hasattr(model, "count_examples")
    wants = "a label for each example" if several else "shape (batch, sequence), like input_ids"
    require(len(shape) >= 1 if several else len(shape) == 2, "labels", shape, wants)
    if several:
        return model.count_examples(labels)
    return int(((labels[:, 1:] if model.config.causal else labels) != IGNORED).sum())


def count_in_batch(model: nn.Module, batch: Mapping[str, Tensor]) -> int:
    """The same for a batch: its rows, where an objective needs no labels."""
    return count_examples(model, batch["labels"]) if "labels" in batch else len(batch["input_ids"])


def split(batch: dict[str, Tensor], parts: int) -> Iterator[dict[str, Tensor]]:
    """A batch cut into `parts` of nearly as many rows each."""
    for rows in torch.arange(len(batch["input_ids"])).tensor_split(parts):
        yield {name: tensor[rows[0] : rows[-1] + 1] for name, tensor in batch.items()}
