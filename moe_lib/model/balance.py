"""How even is the load, and the loss that evens it out.

One convention throughout: f_i = E / (k·T) · count_i, P_i = mean score_i, loss = sum of f_i·P_i. It is 1 when both
are even, whatever E and k (DeepSeekMoE equations 12 to 14). The gradient flows through P only: f is a count.
"""

import torch
from torch import Tensor

from moe_lib.errors import require, require_whole
from moe_lib.model.routing import Routing


def expert_balance_loss(routing: Routing, n_sequences: int = 1, mask: Tensor | None = None) -> Tensor:
    """Expert-level balance loss of one layer, a scalar without its factor alpha.

    n_sequences  1: over all tokens together. More: per sequence, then averaged (DeepSeek-V2 equations 23 to 25,
                 `seq_aux` in its public code). Tokens must be sequence after sequence, equally many.
    mask         (tokens,) bool: False leaves a token out of counts and means. Padding must be left out.

    Raises ValueError if the tokens do not divide into n_sequences.
    """
    require_whole("n_sequences", n_sequences)
    tokens, n_experts, k = len(routing.scores), routing.n_experts, routing.experts.shape[1]
    require(tokens % n_sequences == 0, "n_sequences", n_sequences, f"a divisor of the number of tokens ({tokens})")
    real = torch.ones(tokens, device=routing.scores.device) if mask is None else mask.to(routing.scores.dtype)
    require(real.shape == (tokens,), "mask", tuple(real.shape), f"shape ({tokens},)")

    chosen = torch.zeros_like(routing.scores).scatter_add_(1, routing.experts, torch.ones_like(routing.weights))
    by_sequence = (n_sequences, -1, n_experts)
    real_tokens = real.view(n_sequences, -1).sum(1, keepdim=True).clamp(min=1)
    load = (chosen * real[:, None]).view(by_sequence).sum(1) * n_experts / (k * real_tokens)  # f
    affinity = (routing.scores * real[:, None]).view(by_sequence).sum(1) / real_tokens  # P
    return (load.detach() * affinity).sum(-1).mean()


def max_violation(load: Tensor) -> float:
    """MaxVio = max load / mean load − 1 (Loss-Free Balancing, 2024): 0 is even, E − 1 is one expert doing it all.

    load (E,) counts of one layer. A layer that got no token at all counts as even.
    """
    load = load.double()
    return float(load.max() / load.mean() - 1) if load.sum() > 0 else 0.0


def load_entropy(load: Tensor) -> float:
    """Entropy of the load divided by log E: 1 is even, 0 is one expert doing it all."""
    share = load.double() / load.sum().clamp(min=1)
    if len(load) == 1:
        return 1.0
    return float(torch.special.entr(share).sum() / torch.log(torch.tensor(float(len(load)))))
