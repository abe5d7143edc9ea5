"""What each expert takes: domains, tokens, positions, partners, passages; each beside what chance
gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.analysis.coactivation import coactivation, expected_coactivation
from moe_lib.tracing.analysis.specialisation import domain_labels, position_groups
from moe_lib.tracing.atlas.passages import Passage, passages_of
from moe_lib.tracing.atlas.reading import ReadTexts
from moe_lib.tracing.atlas.shares import by_document, interval, shuffled
from moe_lib.tracing.atlas.token_shares import TokenShare, token_shares
from moe_lib.tracing.trace import LayerTrace
from moe_lib.validation import Count, Seed, checked

POSITION_GROUPS = 8


@dataclass(frozen=True)
class Shares:
    """Of the tokens of each label, the share that takes each expert: (labels, E) each.

    low, high   95 % of a bootstrap over documents; NaN where one document alone has the label
    by_chance   (low, high): 95 % where labels are dealt out anew over the documents; for positions
                the mean share on both sides, which is what mixed positions give
    """

    share: Tensor
    low: Tensor
    high: Tensor
    by_chance: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class AtlasLayer:
    """One layer: per expert (E of them) what it takes.

    load         (E,) share of the tokens that take it; these sum to k
    domains      Shares by domain; positions: by eighths of the longest window
    tokens       per expert its TokenShares, most over-represented first
    together     (E, E) co-activation N_ij / N_i; by_chance: the same with partners mixed, or None
                 where tokens have different numbers of experts
    passages     per expert its Passages, most typical first
    importance   (E,) nats per token by which the loss rises without the expert, or None
    saturation   per checkpoint (share of choices that are the final ones, what chance gives)
    """

    index: int
    n_experts: int
    k: int
    load: Tensor
    domains: Shares
    positions: Shares
    tokens: list[list[TokenShare]]
    together: Tensor
    together_by_chance: Tensor | None
    passages: list[list[Passage]]
    importance: Tensor | None = None
    saturation: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Atlas:
    """All layers, and what was read. `checkpoints`: the names that saturation speaks of."""

    layers: tuple[AtlasLayer, ...]
    read: ReadTexts
    domain_names: tuple[str, ...]
    domain_tokens: tuple[int, ...]
    n_documents: int
    checkpoints: tuple[str, ...] = ()


@checked
def atlas_of(
    read: ReadTexts,
    draws: Count = 200,
    seed: Seed = 0,
    importance: Mapping[int, Tensor] | None = None,
    saturation: Mapping[int, Sequence[tuple[float, float]]] | None = None,
    checkpoints: Sequence[str] = (),
    progress: Callable = iter,
) -> Atlas:
    """Count what was read.

    draws       of the bootstrap over documents, and of the shuffles
    importance  {layer: (E,) nats per token}; saturation: {layer: (found, by chance) per checkpoint}
    progress    wraps the layers as they are gone through

    Raises ValueError for importance of another number of experts.
    """
    trace = read.trace
    labels, names = domain_labels(trace)
    labels = labels.contiguous()
    groups = position_groups(trace, POSITION_GROUPS)
    documents = read.documents.unique(return_inverse=True)[1]
    layers = []
    for layer in progress(trace.layers):
        generator = torch.Generator().manual_seed(seed)
        given = None if importance is None else importance.get(layer.index)
        fits = given is None or given.shape == (layer.n_experts,)
        require(fits, "importance", f"layer {layer.index}", f"{layer.n_experts} numbers")
        counts = _Counts(read, layer, labels, groups, documents, len(names))
        mixed = None
        if layer.chosen is None or bool(layer.choices(trace.real)[trace.real].all()):
            mixed = expected_coactivation(trace, layer.index, shuffles=2, seed=seed)[0]
        layers.append(
            AtlasLayer(
                layer.index,
                layer.n_experts,
                layer.experts.shape[-1],
                counts.load,
                counts.domains(draws, generator),
                counts.positions(draws, generator),
                token_shares(counts.experts, trace.input_ids[trace.real], layer.n_experts, seed),
                coactivation(trace, layer.index),
                mixed,
                passages_of(counts.experts, trace.real, layer.n_experts, seed),
                given,
                tuple((saturation or {}).get(layer.index, ())),
            )
        )
    n_tokens = torch.bincount(labels[trace.real], minlength=len(names)).tolist()
    n_documents = int(documents.max()) + 1
    sizes = tuple(names), tuple(n_tokens), n_documents
    return Atlas(tuple(layers), read, *sizes, tuple(checkpoints))


class _Counts:
    """The tables of one layer."""

    def __init__(self, read: ReadTexts, layer: LayerTrace, labels, groups, documents, n_domains):
        real = read.trace.real
        choices = layer.choices(real)
        self.experts = layer.experts.masked_fill(~choices, -1)[real]  # (tokens, k)
        self.document = documents[:, None].expand(real.shape)[real]  # (tokens,)
        self.domain, self.group = labels[real], groups[real]
        self.n_documents, self.n_experts = int(documents.max()) + 1, layer.n_experts
        self.n_domains = n_domains
        self.of_document = torch.zeros(self.n_documents, dtype=torch.long)
        self.of_document[documents] = labels[:, 0]
        chosen = torch.bincount(self.experts[self.experts >= 0], minlength=layer.n_experts)
        self.load = chosen / len(self.experts)

    def domains(self, draws: int, generator: torch.Generator) -> Shares:
        sizes = (self.n_documents, self.n_domains, self.n_experts)
        chosen, tokens = by_document(self.experts, self.domain, self.document, sizes)
        ends = interval(chosen, tokens, self.of_document, draws, generator)
        chance = shuffled(
            chosen.sum(1), tokens.sum(1), self.of_document, self.n_domains, draws, generator
        )
        return Shares(_share(chosen, tokens), *ends, chance)

    def positions(self, draws: int, generator: torch.Generator) -> Shares:
        sizes = (self.n_documents, POSITION_GROUPS, self.n_experts)
        chosen, tokens = by_document(self.experts, self.group, self.document, sizes)
        ends = interval(chosen, tokens, self.of_document, draws, generator)
        mean = self.load.double().expand(POSITION_GROUPS, -1)
        return Shares(_share(chosen, tokens), *ends, (mean, mean))


def _share(chosen: Tensor, tokens: Tensor) -> Tensor:
    return chosen.sum(0) / tokens.sum(0).clamp(min=1)[:, None]
