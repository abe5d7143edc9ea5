"""The record that the comparator shows: one way to make a model smaller, and what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass

from moe_lib.validation import Count, Finite, NonNegative, Share, Text, checked


@checked
@dataclass(frozen=True)
class CompressionCase:
    """One smaller model.

    group    what it is compared with: "pruning", "quantising the router"
    name     which of the group it is: "REAP", "2 bits, nearest"
    n_bytes  its size in bytes
    rise     nats per token that it loses more than the whole model, on all held-out text
    spread   of the rise: its standard error
    flipped  share of tokens that get other experts, 0 to 1; None where no choice is the same
    domains  {domain: rise there}

    ValueError or TypeError names a field that cannot be.
    """

    group: Text
    name: Text
    n_bytes: Count
    rise: Finite
    spread: NonNegative = 0.0
    flipped: Share | None = None
    domains: Mapping[str, Finite] | None = None
