"""Adversarial training on the embeddings: FGM (Miyato et al. 2017) and PGD (Madry et al. 2018).

finetune(head, batches, epochs=3, objective=FGM(epsilon=1.0))
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moe_lib.tuning.arguments import Batch, ModelOrHead, require_batch
from moe_lib.tuning.robust.perturbing import (
    into_ball,
    perturbed,
    real_tokens,
    to_norm,
    zeros_like_embeddings,
)
from moe_lib.validation import Count, Positive, checked


@checked
@dataclass(frozen=True)
class FGM:
    """Loss at the embeddings e, plus weight · loss at e + r, where r = epsilon · g / ‖g‖ and g =
    ∂loss/∂e.

    epsilon  ‖r‖₂ of each text, over all its tokens together
    weight   of the second loss; 1 in the paper

    r is a constant: no gradient flows through the way it was found. One step costs about twice a
    plain one.
    """

    epsilon: Positive
    weight: Positive = 1.0

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], options: dict):
        delta = zeros_like_embeddings(model, batch).requires_grad_()
        with perturbed(model, delta):
            clean = model(**batch, **options)
        (gradient,) = torch.autograd.grad(clean.loss, delta, retain_graph=True)
        return _with_loss_at(
            to_norm(gradient * real_tokens(batch), self.epsilon),
            model,
            batch,
            options,
            clean,
            self.weight,
        )


@checked
@dataclass(frozen=True)
class PGD:
    """The same with a harder perturbation: `steps` times r ← Π(r + step_size · g / ‖g‖), from r =
    0.

    Π puts r back into the ball ‖r‖₂ ≤ epsilon. step_size None: 2.5 · epsilon / steps, so that the
    walk can reach the edge from anywhere. steps=1 with step_size=epsilon is FGM. Costs about steps
    + 1 times a plain step.
    """

    epsilon: Positive
    steps: Count = 3
    step_size: Positive | None = None
    weight: Positive = 1.0

    def __call__(self, model: nn.Module, batch: dict[str, Tensor], options: dict):
        delta = worst_perturbation(model, batch, self.epsilon, self.steps, self.step_size, options)
        return _with_loss_at(delta, model, batch, options, model(**batch, **options), self.weight)


@checked
def worst_perturbation(
    model: ModelOrHead,
    batch: Batch,
    epsilon: Positive,
    steps: Count = 3,
    step_size: Positive | None = None,
    options: dict | None = None,
) -> Tensor:
    """delta (batch, sequence, hidden_size) with ‖delta‖₂ ≤ epsilon per text, walked uphill on the
    loss. See `PGD`.

    The gradients are taken for delta alone: those of the weights stay as they are.
    """
    require_batch("batch", batch, "labels")
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    real = real_tokens(batch)
    delta = zeros_like_embeddings(model, batch)
    for _ in range(steps):
        delta.requires_grad_()
        with torch.enable_grad(), perturbed(model, delta):
            loss = model(**batch, **(options or {})).loss
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = into_ball(delta.detach() + to_norm(gradient * real, step_size), epsilon)
    return delta.detach()


def _with_loss_at(delta: Tensor, model, batch, options, clean, weight: float):
    """The clean output, with the loss of the perturbed texts added; balance loss and routing are
    the clean ones."""
    with perturbed(model, delta):
        adversarial = model(**batch, **options)
    return replace(clean, loss=clean.loss + weight * adversarial.loss)
