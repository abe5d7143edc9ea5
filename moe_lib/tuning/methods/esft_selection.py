"""Which experts a task uses: the relevance of each expert, and the smallest set that holds a share
p of it.

Wang et al. 2024 ("Let the Expert Stick to His Last", arXiv 2407.01906), equations 6 to 8.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model import Routing
from moe_lib.modules import eval_mode
from moe_lib.tuning.arguments import ModelOrHead, checked_batches
from moe_lib.tuning.task_head import TaskHead
from moe_lib.validation import Choice, checked, number

SCORES = {"gate": 0.1, "token": 0.2}  # and the p that the paper uses with each


@dataclass(frozen=True)
class ExpertSelection:
    """The experts of a task, layer by layer: what `select_experts` found.

    relevance  layer -> one share per expert, all of a layer sum to 1
    experts    layer -> the chosen ones, most relevant first
    scores, p  how they were scored, and the share that they had to reach
    n_texts, n_tokens   of the data that they were scored on, padding left out
    """

    relevance: dict[int, tuple[float, ...]]
    experts: dict[int, tuple[int, ...]]
    scores: str
    p: float
    n_texts: int
    n_tokens: int

    @property
    def n_chosen(self) -> int:
        """Chosen experts in all layers together: Σ |E_s| of the paper."""
        return sum(map(len, self.experts.values()))

    def coverage(self, layer: int) -> float:
        """The share of the relevance that the chosen experts of `layer` hold: p or more."""
        return sum(self.relevance[layer][expert] for expert in self.experts[layer])


@checked
def select_experts(
    model: ModelOrHead,
    batches: Iterable[Mapping[str, Tensor]],
    scores: Choice(*SCORES) = "gate",
    p: Annotated[float, number(above=0, high=1)] | None = None,
) -> ExpertSelection:
    """Let `model` read `batches`, score its experts, and keep per layer the fewest that hold a
    share p.

    batches  dicts with input_ids and attention_mask, e.g. Examples of the task's own training texts
    scores   "gate": mean weight that an expert is given. "token": share of the token choices that
             go to it
    p        0 < p <= 1; None: the paper's 0.1 for "gate", 0.2 for "token"

    Each text counts alike, long or short: means over its tokens are averaged over the texts. The
    relevance is divided by its sum in the layer, so that p is the same share for every router. (The
    raw gate scores of DeepSeek-V2-Lite sum to a third or so, those of a router that scales its
    weights by 2.5 to 2.5.) Nothing is drawn; ties take the lower number. Raises ValueError for a
    model without experts, no texts, or scores or p out of range.
    """
    p = SCORES[scores] if p is None else p
    sums, n_texts, n_tokens = _sum_over_texts(model, batches, scores)
    relevance = {layer: total / total.sum() for layer, total in sums.items()}
    return ExpertSelection(
        {layer: tuple(share.tolist()) for layer, share in relevance.items()},
        {layer: smallest_set(share, p) for layer, share in relevance.items()},
        scores,
        p,
        n_texts,
        n_tokens,
    )


def smallest_set(share: Tensor, p: float) -> tuple[int, ...]:
    """The fewest experts whose shares (E,) sum to p or more, largest first; of equal ones the lower
    number first."""
    ordered, experts = share.sort(descending=True, stable=True)
    missing = ordered.cumsum(0) < p - 1e-9  # 0.1 + 0.2 is not quite 0.3
    count = min(int(missing.sum()) + 1, len(share))
    return tuple(experts[:count].tolist())


def token_scores(routing: Routing, scores: str) -> Tensor:
    """How much each token gives to each expert, (tokens, E) float64: its weights, or 1/k for each
    of its k choices."""
    taken = routing.choices() & routing.kept
    given = (
        routing.weights.double()
        if scores == "gate"
        else torch.ones_like(routing.weights, dtype=torch.float64)
    )
    given = torch.where(taken, given, 0.0)
    if scores == "token":
        given = given / routing.experts.shape[1]
    return given.new_zeros(routing.logits.shape).scatter_add(1, routing.experts, given)


@torch.no_grad()
def _sum_over_texts(model, batches, scores: str) -> tuple[dict[int, Tensor], int, int]:
    """layer -> sum over texts of the mean over the text's tokens, (E,) float64; number of texts and
    of tokens."""
    base = model.base if isinstance(model, TaskHead) else model
    require(
        base.config.n_routed_experts > 0, "model", "a dense model", "a model with routed experts"
    )
    sums: dict[int, Tensor] = {}
    n_texts = n_tokens = 0
    with eval_mode(base):
        for batch in checked_batches(batches):
            ids, mask = _rows(batch, base.device)
            _, side = base.hidden_states(ids, mask)
            n_texts, n_tokens = n_texts + len(ids), n_tokens + int(mask.sum())
            for layer, routing in enumerate(side.routing):
                if routing is not None:
                    given = token_scores(routing, scores).view(
                        *ids.shape, -1
                    )  # (batch, sequence, E)
                    means = (given * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                    sums[layer] = sums.get(layer, 0) + means.sum(0).cpu()
    require(n_texts > 0, "batches", "no text", "at least one")
    return sums, n_texts, n_tokens


def _rows(batch: Mapping[str, Tensor], device) -> tuple[Tensor, Tensor]:
    """input_ids and bool mask, (rows, sequence); choices become rows of their own, empty rows fall
    out."""
    ids = batch["input_ids"].flatten(0, -2).to(device)
    mask = batch.get("attention_mask")
    mask = (
        torch.ones_like(ids, dtype=torch.bool)
        if mask is None
        else mask.flatten(0, -2).to(device).bool()
    )
    real = mask.any(1)
    return ids[real], mask[real]
