"""How much does a small change of the embeddings change? Of the answers, and of the choices of
experts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model import Routing
from moe_lib.modules import eval_mode
from moe_lib.tuning.arguments import Batch, checked_batches, require_batch
from moe_lib.tuning.heads import SequenceClassifier
from moe_lib.tuning.robust.adversarial import worst_perturbation
from moe_lib.tuning.robust.perturbing import perturbed, random_direction, zeros_like_embeddings
from moe_lib.validation import Count, Flag, NonNegative, Seed, checked


@dataclass(frozen=True)
class Attacked:
    """What `attack` found for one batch.

    right, right_before  (batch,) bool: classified correctly with and without the perturbation
    kept, choices        choices (real token, expert) of all MoE layers without it, and how many of
                         them are the same with it; 0 and 0 in a dense model
    delta                (batch, sequence, hidden_size): the perturbation
    """

    right: Tensor
    right_before: Tensor
    kept: int
    choices: int
    delta: Tensor

    @property
    def accuracy(self) -> float:
        """Share of right answers under the perturbation."""
        return float(self.right.float().mean())

    @property
    def flips(self) -> float:
        """Share of the choices of experts that are gone; NaN in a dense model."""
        return 1 - self.kept / self.choices if self.choices else float("nan")


@checked
def attack(
    head: SequenceClassifier,
    batch: Batch,
    radius: NonNegative,
    steps: Count = 3,
    *,
    random: Flag = False,
    seed: Seed = 0,
) -> Attacked:
    """Look for the worst perturbation of norm at most `radius` per text; `random` takes a random
    one instead.

    The model is in eval mode and its weights get no gradient. radius 0 changes nothing. An attack
    is a lower bound: a better one may find more.
    Raises ValueError for a negative radius or a batch without labels, TypeError for another head.
    """
    require_batch("batch", batch, "labels")
    batch = {name: tensor.to(head.base.device) for name, tensor in batch.items()}
    with eval_mode(head):
        delta = zeros_like_embeddings(head, batch)
        if radius > 0 and random:
            delta = random_direction(delta, batch, radius, seed)
        elif radius > 0:
            delta = worst_perturbation(head, batch, radius, steps)
        with torch.no_grad():
            before = head(**batch)
            with perturbed(head, delta):
                after = head(**batch)
    old, new = (_choices(output.routing, batch.get("attention_mask")) for output in (before, after))
    kept = sum(int((a & b).sum()) for a, b in zip(old, new, strict=True))
    right = [(output.logits.argmax(-1) == batch["labels"]).cpu() for output in (after, before)]
    return Attacked(*right, kept, sum(int(layer.sum()) for layer in old), delta)


@checked
def attack_curve(
    head: SequenceClassifier,
    batches: Iterable[dict],
    radii: Sequence[NonNegative],
    steps: Count = 3,
    seed: Seed = 0,
) -> pd.DataFrame:
    """A row per radius and kind ("worst", "random"): radius, kind, accuracy, flips.

    Counts of all batches are added up before they are divided: batches of unequal size do not count
    alike.
    """
    batches = list(checked_batches(batches))
    require(len(batches) > 0, "batches", "none", "at least one")
    require(len(radii) > 0, "radii", "none", "at least one")
    for number, batch in enumerate(batches):
        require_batch(f"batches[{number}]", batch, "labels")
    rows = []
    for kind in ("worst", "random"):
        for radius in radii:
            found = [
                attack(head, batch, radius, steps, random=kind == "random", seed=seed + number)
                for number, batch in enumerate(batches)
            ]
            right, choices = (
                torch.cat([one.right for one in found]),
                sum(one.choices for one in found),
            )
            flips = 1 - sum(one.kept for one in found) / choices if choices else float("nan")
            rows.append(
                {
                    "radius": radius,
                    "kind": kind,
                    "accuracy": float(right.float().mean()),
                    "flips": flips,
                }
            )
    return pd.DataFrame(rows)


def _choices(routing: list[Routing | None], mask: Tensor | None) -> list[Tensor]:
    """One (tokens, E) bool per MoE layer, real tokens only."""
    layers = []
    for one in routing:
        if one is not None:
            table = torch.zeros_like(one.logits, dtype=torch.int64)
            table.scatter_add_(1, one.experts, one.choices().long())
            layers.append((table > 0)[slice(None) if mask is None else mask.flatten().bool()].cpu())
    return layers
