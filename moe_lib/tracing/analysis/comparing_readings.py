"""Two readings beside each other: do they use the experts alike? With what chance alone would
give."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.reading import Reading
from moe_lib.tracing.trace import LayerTrace
from moe_lib.validation import Seed, checked, require_tensor

if TYPE_CHECKING:
    import pandas as pd

SHUFFLES = 200  # of the load comparison
_PAIRINGS = 20  # of the renumbering, which is slower


@dataclass(frozen=True)
class LayerComparison:
    """One layer, in two readings that have it with equally many experts.

    index               number of the layer
    total_variation     distance of the two loads, Σ |p_e − q_e| / 2 over the experts, p and q the
                        shares of all choices: 0 for equal loads, 1 for no expert in common
    shuffled_variation  the same where the tokens of both readings are mixed and dealt out anew:
                        mean of 200 shuffles
    p_value             share of the shuffles (the real one counted) with a distance at least as
                        large. Neighbouring tokens are alike, which shuffling ignores: read it as a
                        hint
    overlap             share of a token's experts in the first reading that it has in the second
                        too, mean over the tokens; None unless both read the same tokens
    chance_overlap      the same with the tokens of the second in random order: the exact mean, from
                        the two loads
    renumbered_overlap  overlap after the best one-to-one renumbering of the second's experts: two
                        models trained apart number their experts arbitrarily
    renumbered_chance   the same renumbering, found for tokens in random order: mean of 20 orders
    """

    index: int
    total_variation: float
    shuffled_variation: float
    p_value: float
    overlap: float | None = None
    chance_overlap: float | None = None
    renumbered_overlap: float | None = None
    renumbered_chance: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What `compare_readings` found.

    same_tokens  both read the same tokens, one for one
    layers       a LayerComparison per layer that both have with equally many experts
    missing      numbers of the first reading's layers without such a partner
    """

    same_tokens: bool
    layers: tuple[LayerComparison, ...]
    missing: tuple[int, ...]

    def layer(self, index: int) -> LayerComparison:
        """Raises ValueError for a layer that cannot be compared."""
        found = [layer for layer in self.layers if layer.index == index]
        require(
            bool(found),
            "index",
            index,
            f"a layer of both readings: {[layer.index for layer in self.layers]}",
        )
        return found[0]

    def to_pandas(self) -> "pd.DataFrame":
        """One row per layer, the fields of LayerComparison as columns."""
        import pandas as pd

        columns = list(LayerComparison.__dataclass_fields__)
        return pd.DataFrame([asdict(layer) for layer in self.layers], columns=columns)


@checked
def compare_readings(one: Reading, other: Reading, seed: Seed = 0) -> Comparison:
    """Compare how two readings use the experts: two texts of one model, or one text of two models.

    seed  of the shuffles

    Raises TypeError for something that is no Reading, ValueError for a reading without tokens.
    """
    for name, reading in (("one", one), ("other", other)):
        require(len(reading) > 0, name, "a reading of no tokens", "at least one token")
    same = one.pieces == other.pieces
    generator = torch.Generator().manual_seed(seed)
    partners = {layer.index: layer for layer in other.trace.layers}
    pairs = [(layer, partners.get(layer.index)) for layer in one.trace.layers]
    found = [(a, b) for a, b in pairs if b is not None and a.n_experts == b.n_experts]
    compared = {a.index for a, _ in found}
    return Comparison(
        same,
        tuple(_compare(a, b, same, generator) for a, b in found),
        tuple(layer.index for layer in one.trace.layers if layer.index not in compared),
    )


def _compare(
    one: LayerTrace, other: LayerTrace, same_tokens: bool, generator: torch.Generator
) -> LayerComparison:
    a, b = _choices(one), _choices(other)
    distance = total_variation(a.sum(0), b.sum(0))
    shuffled = _shuffled_variations(a, b, generator)
    p_value = (1 + int((shuffled >= distance - 1e-12).sum())) / (1 + len(shuffled))
    overlaps = _overlaps(a, b, generator) if same_tokens else ()
    return LayerComparison(one.index, distance, float(shuffled.mean()), p_value, *overlaps)


def _choices(layer: LayerTrace) -> Tensor:
    """(tokens, E) float64: 1 where a token of the first text chose the expert."""
    there = (
        torch.ones_like(layer.experts[0], dtype=torch.bool)
        if layer.chosen is None
        else layer.chosen[0]
    )
    table = torch.zeros(there.shape[0], layer.n_experts, dtype=torch.float64)
    return table.scatter_add_(1, layer.experts[0], there.double()).clamp(max=1)


def total_variation(one: Tensor, other: Tensor) -> float:
    """Total variation distance of two load vectors (E,): half the sum of |p_e − q_e|, 0 to 1."""
    require_tensor("one", one, ("experts",), low=0, finite=True)
    require_tensor("other", other, one.shape, low=0, finite=True)
    return float(_variations(one[None].double(), other[None].double())[0])


def _variations(one: Tensor, other: Tensor) -> Tensor:
    """(n, E), (n, E) -> (n,)"""
    p, q = (loads / loads.sum(1, keepdim=True).clamp(min=1e-12) for loads in (one, other))
    return (p - q).abs().sum(1) / 2


def _shuffled_variations(a: Tensor, b: Tensor, generator: torch.Generator) -> Tensor:
    """(SHUFFLES,): the distance where the tokens of both are dealt out anew, as many to each side
    as before."""
    both = torch.cat((a, b))
    order = torch.rand(SHUFFLES, len(both), generator=generator).argsort(1)
    first = (order < len(a)).double() @ both  # (SHUFFLES, E)
    return _variations(first, both.sum(0) - first)


def _overlaps(
    a: Tensor, b: Tensor, generator: torch.Generator
) -> tuple[float, float, float, float]:
    """overlap, chance_overlap, renumbered_overlap, renumbered_chance of the same tokens, (tokens,
    E) each."""
    share = a / a.sum(1, keepdim=True).clamp(
        min=1
    )  # each token counts alike, however many experts it has
    together = share.T @ b / len(a)  # (E, E): expert i of the first with expert j of the second
    by_chance = share.mean(0) @ b.mean(0)
    orders = [torch.randperm(len(a), generator=generator) for _ in range(_PAIRINGS)]
    shuffled = [_best_numbering(share.T @ b[order] / len(a)) for order in orders]
    return (
        float(together.diagonal().sum()),
        float(by_chance),
        _best_numbering(together),
        sum(shuffled) / len(shuffled),
    )


def _best_numbering(together: Tensor) -> float:
    """The largest sum over one-to-one pairs of the experts (the Hungarian algorithm)."""
    from scipy.optimize import linear_sum_assignment  # here, because it is slow to import

    rows, columns = linear_sum_assignment(together.numpy(), maximize=True)
    return float(together.numpy()[rows, columns].sum())
