"""Shares of the tokens that take an expert, with intervals over documents and a shuffle."""

import torch
from torch import Tensor

_CHUNK = 64  # draws at once: bounds the memory


def by_document(experts: Tensor, labels: Tensor, documents: Tensor, sizes: tuple) -> tuple:
    """Counts of one layer: chosen (documents, labels, E) and tokens (documents, labels), float64.

    experts (tokens, k), -1 for no choice; labels, documents (tokens,); sizes (documents, labels, E)
    """
    n_documents, n_labels, n_experts = sizes
    place = documents * n_labels + labels  # (tokens,)
    flat = (place[:, None] * n_experts + experts)[experts >= 0]
    chosen = torch.bincount(flat, minlength=n_documents * n_labels * n_experts)
    tokens = torch.bincount(place, minlength=n_documents * n_labels)
    return chosen.view(sizes).double(), tokens.view(sizes[:2]).double()


def interval(
    chosen: Tensor, tokens: Tensor, group: Tensor, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(low, high), (labels, E) each: 95 % of the shares when documents are drawn anew, within each
    group of documents (documents,), with replacement. NaN where a label has one document only."""
    n = len(group)
    flat = torch.cat((chosen.flatten(1), tokens), dim=1)  # (documents, labels · E + labels)
    kept = []
    for start in range(0, draws, _CHUNK):
        rounds = min(_CHUNK, draws - start)
        times = torch.zeros(rounds, n, dtype=torch.double)
        for value in group.unique():
            own = (group == value).nonzero()[:, 0]
            drawn = own[torch.randint(len(own), (rounds, len(own)), generator=generator)]
            times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.double))
        kept.append(_shares(times @ flat, chosen.shape[1:]))
    ends = torch.quantile(torch.cat(kept), torch.tensor([0.025, 0.975]).double(), dim=0)
    alone = ((tokens > 0).sum(0) < 2)[:, None]
    return tuple(end.masked_fill(alone, torch.nan) for end in ends)


def shuffled(
    chosen: Tensor, tokens: Tensor, label: Tensor, n_labels: int, draws: int, generator
) -> tuple[Tensor, Tensor]:
    """(low, high), (labels, E) each: 95 % of the shares when the labels of documents (documents,)
    are dealt out anew over them; chosen (documents, E), tokens (documents,)."""
    found = []
    for _ in range(draws):
        dealt = label[torch.randperm(len(label), generator=generator)]
        counts = torch.zeros(n_labels, chosen.shape[1]).double().index_add_(0, dealt, chosen)
        totals = torch.zeros(n_labels).double().index_add_(0, dealt, tokens)
        found.append(counts / totals.clamp(min=1)[:, None])
    ends = torch.quantile(torch.stack(found), torch.tensor([0.025, 0.975]).double(), dim=0)
    return tuple(ends)


def _shares(sums: Tensor, shape: torch.Size) -> Tensor:
    """(draws, labels · E + labels) -> shares (draws, labels, E)."""
    n_labels, n_experts = shape
    chosen = sums[:, : n_labels * n_experts].view(-1, n_labels, n_experts)
    return chosen / sums[:, n_labels * n_experts :, None].clamp(min=1)
