"""How many bits a token's label and its experts share, beside what chance alone would show."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.analysis.specialisation import (
    choice_counts,
    document_numbers,
    shuffle_over_documents,
    shuffle_within,
)
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import Count, Natural, Seed, checked, require_tensor


@checked
def mutual_information(counts: Tensor) -> float:
    """I(A; B) = Σ p(a,b) log2 p(a,b) / (p(a) p(b)) in bits, from a table of counts (A, B).

    This is the plug-in estimate: in a finite sample it is too large, the more so the more cells the
    table has. See `miller_madow_bias`, or compare with shuffled labels. Raises ValueError for a
    table without a count.
    """
    _check_counts(counts)
    counts = counts.cpu().double()  # Apple's GPU has no float64
    joint = counts / counts.sum()
    alone = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    there = joint > 0
    return float((joint[there] * (joint[there] / alone[there]).log2()).sum().clamp(min=0))


@checked
def miller_madow_bias(counts: Tensor) -> float:
    """By how many bits the plug-in estimate is too large, to first order: (m_ab − m_a − m_b + 1) /
    (2 n ln 2).

    m: occupied cells, rows and columns; n: the sum of the counts (Miller 1955). It holds for
    independent samples in well filled tables. Neighbouring tokens are not independent, so the true
    bias is larger: prefer the shuffle. Raises ValueError for a table without a count.
    """
    _check_counts(counts)
    occupied = (counts > 0).sum() - (counts.sum(1) > 0).sum() - (counts.sum(0) > 0).sum() + 1
    return float(occupied / (2 * counts.sum() * math.log(2)))


def _check_counts(counts: Tensor) -> None:
    require_tensor("counts", counts, ("A", "B"), ("whole", "floating"), low=0, finite=True)
    wants = "a table (A, B) with at least one count"
    got = f"a table of shape {tuple(counts.shape)} without a count"
    require(bool(counts.sum() > 0), "counts", got, wants)


@dataclass(frozen=True)
class Information:
    """What `routing_information` found, in bits.

    bits     mutual information of label and expert, plug-in estimate
    chance   the same with shuffled labels: mean of the shuffles
    most     the largest of the shuffles
    p_value  share of the shuffles (the real labels counted) with at least as many bits
    bias     Miller-Madow's estimate of how much `bits` is too large
    entropy  bits of the expert itself: no label can tell more
    """

    bits: float
    chance: float
    most: float
    p_value: float
    bias: float
    entropy: float

    @property
    def beyond_chance(self) -> float:
        """bits − chance: what is worth telling. Near 0, or below, where there is no link."""
        return self.bits - self.chance


@checked
def routing_information(
    trace: RoutingTrace,
    index: Natural,
    labels: Tensor,
    *,
    rank: Count | None = None,
    documents: Tensor | None = None,
    shuffles: Count = 20,
    seed: Seed = 0,
) -> Information:
    """Mutual information of the tokens' labels and the experts of layer `index`; each choice of a
    token is a sample.

    labels  (batch, sequence) int64, -1 to leave out: the control exchanges labels between tokens of
            the same text. Or (batch,), one per text, e.g. its domain: the control exchanges them
            between whole documents. Shuffling tokens there would call every difference between
            documents a finding
    rank    only the choices of this rank (1 is the best); None: all k
    documents  (batch,) int64: the document of every text; None: each text is its own

    Raises ValueError for labels of another shape, or a document with two labels.
    """
    per_text = isinstance(labels, Tensor) and labels.dim() == 1
    of_text = document_numbers(trace, documents)
    if per_text:
        require(
            len(labels) == len(of_text),
            "labels",
            tuple(labels.shape),
            f"one per text ({len(of_text)})",
        )
    generator = torch.Generator().manual_seed(seed)

    def table(labels: Tensor) -> Tensor:
        wide = labels[:, None].expand(trace.real.shape) if per_text else labels
        return choice_counts(trace, index, wide, rank)[0]

    def shuffled() -> Tensor:
        if per_text:
            return shuffle_over_documents(labels, of_text, generator)
        return _exchange_within_texts(labels, trace.real, generator)

    counts = table(labels)
    wants = "a label of at least 0 at some real token that has a choice"
    require(bool(counts.sum() > 0), "labels", "none of a real token", wants)
    bits = mutual_information(counts)
    chance = torch.tensor(
        [mutual_information(table(shuffled())) for _ in range(shuffles)], dtype=torch.float64
    )
    p = counts.sum(0).double() / counts.sum()
    return Information(
        bits,
        float(chance.mean()),
        float(chance.max()),
        (1 + int((chance >= bits - 1e-9).sum())) / (1 + shuffles),
        miller_madow_bias(counts),
        float(torch.special.entr(p).sum() / math.log(2)),
    )


def _exchange_within_texts(labels: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    text = torch.arange(len(real))[:, None].expand(real.shape)
    free = real & (labels >= 0)
    shuffled = labels.clone()
    shuffled[free] = labels[free][shuffle_within(text[free], generator)]
    return shuffled
