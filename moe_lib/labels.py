"""Labels: the number that means "nothing to predict here", and how many examples a mean loss runs
over."""

from torch import Tensor, nn

IGNORED = -100  # a label that takes no part in the loss, as in torch and transformers


def count_examples(model: nn.Module, labels: Tensor) -> int:
    """How many examples `model`'s mean loss runs over: what a mean must be weighed by to join it
    with others.

    A task head says so itself. For a language model it is the labelled positions; a causal one does
    not predict its first.
    """
    if hasattr(model, "count_examples"):
        return model.count_examples(labels)
    return int(((labels[:, 1:] if model.config.causal else labels) != IGNORED).sum())
