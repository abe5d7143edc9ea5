"""The article on the mixture of experts: the gradient of a weight (gradient-of-a-weight in the
ledger), and a function that tests it.

weight_gradients(a, experts, x, grad_y)    the article's product, the right one, and autograd's
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moe_lib.validation import require_tensor


def weight_gradients(
    a: Tensor, experts: Sequence[Callable[[Tensor], Tensor]], x: Tensor, grad_y: Tensor
) -> dict[str, Tensor]:
    """The gradient of the weights a (K,) of y = Σ a_k M_k(x), three times, (K,) each.

    experts, x   K functions M_k, and what they read; grad_y (d,): the gradient of the loss at y

    "article": ∂L/∂y · ∂y/∂M_k · ∂M_k/∂a_k, where autograd finds no path from a_k to M_k(x): 0.
    "right": the dot products ⟨∂L/∂y, M_k(x)⟩. "autograd": the gradient of the whole sum.
    """
    require_tensor("a", a, (len(experts),), "floating")
    a = a.detach().clone().requires_grad_()
    outputs = torch.stack([expert(x) for expert in experts])  # (K, d)
    outputs = outputs if outputs.requires_grad else outputs.detach().requires_grad_()
    require_tensor("grad_y", grad_y, (outputs.shape[1],), "floating")
    y = a @ outputs  # (d,)
    to_expert = torch.autograd.grad(y, outputs, grad_y, retain_graph=True)[0]  # a_k grad_y, (K, d)
    last = torch.autograd.grad(outputs, a, to_expert, retain_graph=True, allow_unused=True)[0]
    return {
        "article": torch.zeros_like(a) if last is None else last,
        "right": (outputs @ grad_y).detach(),
        "autograd": torch.autograd.grad(y, a, grad_y)[0],
    }
