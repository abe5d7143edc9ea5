"""Does an expert prefer a domain, a token, a position? Tables of choices, and the controls that
each one needs.

Every function takes a RoutingTrace and the number of a layer. `labels` sort the tokens: (batch,
sequence) int64, one label per token from 0 on, -1 to leave a token out. Padding never counts.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import Count, Natural, Seed, Share, checked, require_tensor

LARGEST_LABEL = 2**24  # a table has a row for each; token ids and documents stay far below

if TYPE_CHECKING:
    import pandas as pd


@checked
def choice_counts(
    trace: RoutingTrace, index: Natural, labels: Tensor, rank: Count | None = None
) -> tuple[Tensor, Tensor]:
    """How often tokens of each label chose each expert of layer `index`.

    labels (batch, sequence) int64, -1 to leave out; rank: count only the choices of this rank (1 is
    the best), or all. Returns (counts (labels, E) int64, tokens (labels,) int64: how many tokens
    have the label).

    Raises ValueError for labels of another shape or a rank that the layer does not have.
    """
    layer, real = trace.layer(index), trace.real
    _require_labels(labels, real)
    k = layer.experts.shape[-1]
    require(rank is None or rank in range(1, k + 1), "rank", rank, f"None or 1 to {k}")
    real = real & (labels >= 0)
    require_tensor("labels", labels, low=-1, high=LARGEST_LABEL)
    n_labels = int(labels.max()) + 1 if labels.numel() else 0
    used = layer.choices(real)  # (batch, sequence, k)
    if rank is not None:
        used = used & (torch.arange(1, k + 1) == rank)
    place = labels[..., None].expand_as(used)[used] * layer.n_experts + layer.experts[used]
    counts = torch.bincount(place, minlength=n_labels * layer.n_experts).view(
        n_labels, layer.n_experts
    )
    return counts, torch.bincount(labels[real], minlength=n_labels)


@checked
def domain_labels(trace: RoutingTrace) -> tuple[Tensor, list[str]]:
    """The domain of every token, (batch, sequence) int64, and the sorted names that these numbers
    point into.

    Raises ValueError for a trace without domains.
    """
    require(trace.domains is not None, "trace", "no domains", "a trace with a domain per text")
    names = sorted(set(trace.domains))
    of_text = torch.tensor([names.index(domain) for domain in trace.domains])
    return of_text[:, None].expand(trace.real.shape), names


@checked
def domain_specialisation(trace: RoutingTrace, index: Natural) -> "pd.DataFrame":
    """Domain specialisation of OLMoE (arXiv 2409.02060): N_iD / N_D, a row per domain, a column per
    expert.

    N_D is the number of the domain's tokens, N_iD how many of them have expert i among their k. So
    each *row* sums to k, and k/E everywhere means that the layer does not care. Raises ValueError
    for a trace without domains.
    """
    labels, names = domain_labels(trace)
    return _shares(*choice_counts(trace, index, labels), names, "domain")


@checked
def token_specialisation(
    trace: RoutingTrace,
    index: Natural,
    tokens: Tensor | None = None,
    *,
    rank: Count | None = 1,
    min_count: Count = 10,
) -> "pd.DataFrame":
    """Vocabulary specialisation of OLMoE: N_xi / N_x, a row per token id, a column per expert.

    N_x is how often token x occurs, N_xi how often expert i is its choice of rank `rank` (1, as in
    OLMoE: rows sum to 1; None: among its k, rows sum to k). The most frequent token comes first;
    those with fewer than `min_count` occurrences are left out, as a token that occurs once always
    has a favourite.

    tokens  (batch, sequence) int64: the token that the table is about. None: the input token. The
            true next or the predicted next token gives OLMoE's other two tables; -1 where there is
            none

    Raises ValueError for tokens of another shape, or a rank that the layer does not have.
    """
    tokens = trace.input_ids if tokens is None else tokens
    _require_labels(tokens, trace.real, "tokens")
    counts, occurrences = choice_counts(trace, index, tokens, rank)
    order = occurrences.argsort(descending=True, stable=True)
    kept = order[occurrences[order] >= min_count]
    return _shares(counts[kept], occurrences[kept], kept.tolist(), "token_id")


@checked
def position_groups(trace: RoutingTrace, n_groups: Count = 8) -> Tensor:
    """Labels (batch, sequence): which of `n_groups` equal stretches of positions a token stands in;
    padding -1.

    Positions count the real tokens of a text from 0, on whichever side it is padded. The last group
    ends with the longest text.
    """
    position = trace.real.long().cumsum(1) - 1
    longest = max(1, int(trace.real.sum(1).max()))
    return (position * n_groups // longest).masked_fill(~trace.real, -1)


@checked
def bootstrap_domains(
    trace: RoutingTrace,
    index: Natural,
    documents: Tensor | None = None,
    *,
    draws: Count = 500,
    level: Share = 0.95,
    seed: Seed = 0,
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Interval of `domain_specialisation`, (low, high), each like its table: bootstrap over
    documents.

    Tokens of one document are alike, so whole documents are drawn, within each domain, with
    replacement. A domain of one document gets NaN: nothing can be said about other documents from
    it.

    documents  (batch,) int64: the document of every text; None: each text is its own. draws: how
               often to draw.

    Raises ValueError for a trace without domains, a level not between 0 and 1, or other shapes.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    domains, names = domain_labels(trace)
    of_text = document_numbers(trace, documents)
    counts, tokens = choice_counts(trace, index, of_text[:, None].expand(trace.real.shape))
    domain_of = torch.full((len(tokens),), -1).scatter(0, of_text, domains[:, 0])
    generator, low, high = torch.Generator().manual_seed(seed), [], []
    for number in range(len(names)):
        own = domain_of == number
        chosen, length = counts[own].double(), tokens[own].double()
        n = len(length)
        drawn = torch.randint(n, (draws, n), generator=generator)
        times = torch.zeros(draws, n, dtype=torch.double).scatter_add_(
            1, drawn, torch.ones(draws, n).double()
        )
        shares = times @ chosen / (times @ length).clamp(min=1)[:, None]  # (draws, E)
        ends = torch.quantile(
            shares, torch.tensor([(1 - level) / 2, (1 + level) / 2]).double(), dim=0
        )
        ends = ends if n > 1 else torch.full_like(ends, torch.nan)
        low.append(ends[0])
        high.append(ends[1])
    return tuple(_frame(torch.stack(side), names, "domain") for side in (low, high))


# Controls: a trace in, a trace out, so that every view and every number can be had for them too


@checked
def shuffle_domains(
    trace: RoutingTrace, documents: Tensor | None = None, seed: Seed = 0
) -> RoutingTrace:
    """The same routing under wrong names: domains dealt out anew over the documents, each of which
    stays whole.

    What an expert still seems to prefer is chance. documents (batch,) int64 as in
    `bootstrap_domains`. Raises ValueError for a trace without domains, or if a document has two.
    """
    domains, names = domain_labels(trace)
    of_text = document_numbers(trace, documents)
    shuffled = shuffle_over_documents(domains[:, 0], of_text, torch.Generator().manual_seed(seed))
    return replace(trace, domains=tuple(names[number] for number in shuffled.tolist()))


@checked
def exchange_routing(trace: RoutingTrace, labels: Tensor, seed: Seed = 0) -> RoutingTrace:
    """The same texts, but tokens of one label have exchanged their routing, whole and the same way
    in all layers.

    With labels = trace.input_ids, each token is routed as some other occurrence of the same token
    was: what is left of a preference is due to the token itself, not to what stands around it. A
    token that occurs once keeps its routing. labels (batch, sequence) int64, -1 and padding stay as
    they are.
    """
    _require_labels(labels, trace.real)
    n = labels.numel()
    free = (trace.real & (labels >= 0)).flatten()
    groups = torch.where(
        free, labels.flatten(), -1 - torch.arange(n)
    )  # whoever must stay is alone in its group
    order = shuffle_within(groups, torch.Generator().manual_seed(seed))

    def exchanged(part):
        moved = {name: t.flatten(0, 1)[order].view(t.shape) for name, t in part.tensors().items()}
        return replace(part, **moved)

    return replace(
        trace,
        layers=[exchanged(layer) for layer in trace.layers],
        attention_layers=tuple(exchanged(layer) for layer in trace.attention_layers),
    )


@checked
def document_numbers(trace: RoutingTrace, documents: Tensor | None) -> Tensor:
    """(batch,) int64, from 0 on without gaps. Raises ValueError if there is not one whole number
    per text."""
    texts = len(trace.real)
    if documents is None:
        return torch.arange(texts)
    fits = (
        isinstance(documents, Tensor)
        and documents.shape == (texts,)
        and not documents.is_floating_point()
    )
    require(
        fits,
        "documents",
        tuple(getattr(documents, "shape", ())),
        f"whole numbers of shape ({texts},)",
    )
    return documents.unique(return_inverse=True)[1]


@checked
def shuffle_over_documents(values: Tensor, documents: Tensor, generator: torch.Generator) -> Tensor:
    """values (batch,), one per text and the same in all texts of a document -> dealt out anew over
    the documents."""
    n = int(documents.max()) + 1
    of_document = torch.zeros(n, dtype=values.dtype).scatter(0, documents, values)
    require(
        torch.equal(of_document[documents], values),
        "documents",
        "a document with two labels",
        "one per document",
    )
    return of_document[torch.randperm(n, generator=generator)][documents]


@checked
def shuffle_within(groups: Tensor, generator: torch.Generator) -> Tensor:
    """groups (n,) -> (n,) a random order in which every place is taken by somebody of its own
    group."""
    mixed = torch.randperm(len(groups), generator=generator)
    mixed = mixed[groups[mixed].argsort(stable=True)]  # random within each group, groups in order
    order = torch.empty_like(mixed)
    order[groups.argsort(stable=True)] = mixed
    return order


def _require_labels(labels: Tensor, real: Tensor, argument: str = "labels") -> None:
    fits = (
        isinstance(labels, Tensor) and labels.shape == real.shape and not labels.is_floating_point()
    )
    got = (
        f"{getattr(labels, 'dtype', type(labels).__name__)} of shape "
        f"{tuple(getattr(labels, 'shape', ()))}"
    )
    require(
        fits,
        argument,
        got,
        f"whole numbers of shape {tuple(real.shape)}, one per token of the trace",
    )


def _shares(counts: Tensor, tokens: Tensor, names: list, name: str) -> "pd.DataFrame":
    return _frame(counts.double() / tokens.clamp(min=1)[:, None], names, name)


def _frame(table: Tensor, names: list, name: str) -> "pd.DataFrame":
    import pandas as pd

    columns = pd.RangeIndex(table.shape[1], name="expert")
    return pd.DataFrame(table.numpy(), index=pd.Index(names, name=name), columns=columns)
