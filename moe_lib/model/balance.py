"""How even is the load, and the losses that even it out.

One convention throughout: f_i = E / choices · count_i, P_i = mean score_i, loss = Σ f_i·P_i. It is
1 when both are even, whatever E and k (DeepSeekMoE equations 12 to 14). The gradient flows through
P only: f is a count. Each loss is a scalar, of one layer, without its factor alpha. Two arguments:

    n_sequences  1: over all tokens together. More: per sequence, then averaged (DeepSeek-V2
                 equations 23 to 25, `seq_aux` in its code); tokens are sequence after sequence
    mask         (tokens,) bool: False leaves a token out of counts and means, as padding must be
"""

import torch
from torch import Tensor

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_divisor, require_whole
from moe_lib.model.routing import NoisyRouting, Routing
from moe_lib.model_inputs import checked_marks
from moe_lib.validation import require_tensor


def expert_balance_loss(routing: Routing, n_sequences: int = 1, mask=None) -> Tensor:
    """Expert-level balance loss. Scores are divided by their sum over all experts first: softmax
    scores have sum 1 already, sigmoid scores do not (DeepSeek-V3 equation 19)."""
    load, affinity = _load_and_affinity(routing, n_sequences, mask)
    return (load * affinity).sum(-1).mean()


def device_balance_loss(routing: Routing, n_devices: int, n_sequences=1, mask=None) -> Tensor:
    """Device-level balance loss (DeepSeekMoE equations 15 to 17; DeepSeek-V2 equations 26 to 28):
    f'_i is the mean f of a block of experts, P'_i the sum of its P. They may be uneven within."""
    blocks = _device_blocks(routing, n_devices)
    load, affinity = _load_and_affinity(routing, n_sequences, mask)
    load = load.unflatten(-1, blocks).mean(-1)  # (n_sequences, n_devices)
    return (load * affinity.unflatten(-1, blocks).sum(-1)).sum(-1).mean()


def communication_balance_loss(
    routing: Routing, n_devices: int, max_devices: int, n_sequences: int = 1, mask=None
) -> Tensor:
    """Communication balance loss (DeepSeek-V2 equations 29 to 31): evens out what devices receive.
    f''_i = D / (M·T) · tokens that are sent to device i, where each token goes to M = max_devices
    devices at most; P''_i = sum of P on the device."""
    blocks = _device_blocks(routing, n_devices)
    require_whole("max_devices", max_devices)
    wants = f"at most n_devices ({n_devices})"
    require(max_devices <= n_devices, "max_devices", max_devices, wants)
    sent = _counts(routing).unflatten(-1, blocks).amax(-1)  # (tokens, D): 1 where a token goes
    received = _means(sent, n_sequences, mask) * n_devices / max_devices  # (n_sequences, D)
    _, affinity = _load_and_affinity(routing, n_sequences, mask)
    return (received * affinity.unflatten(-1, blocks).sum(-1)).sum(-1).mean()


def router_z_loss(routing: Routing, mask: Tensor | None = None) -> Tensor:
    """Mean over the tokens of (log Σ_j exp logit_j)²: keeps logits small (ST-MoE, 2022)."""
    _require_record(routing)
    return _means(routing.logits.logsumexp(-1, keepdim=True).square(), 1, mask).squeeze()


def importance_loss(routing: Routing, mask: Tensor | None = None) -> Tensor:
    """Squared coefficient of variation of the experts' importance, which is the sum of their gate
    values G(x), a NoisyTopKRouter's scores, over the batch (Shazeer et al. 2017, equation 6)."""
    _require_record(routing, NoisyRouting)
    return _squared_variation(_means(routing.scores, 1, mask)[0])


def load_loss(routing: NoisyRouting, mask: Tensor | None = None) -> Tensor:
    """Squared coefficient of variation of the experts' smooth load (Shazeer, equations 8 to 11).

    A count of tokens has no gradient. The smooth load of expert i is the sum over the tokens of the
    probability that i would be among the k best if only its own noise were drawn again: Φ((clean_i
    − threshold_i) / std_i), where threshold_i is the k-th largest of the other noisy logits.
    """
    _require_record(routing, NoisyRouting)
    k, n_experts = routing.experts.shape[1], routing.n_experts
    if k == n_experts:  # every expert is always chosen
        return torch.zeros((), device=routing.logits.device)
    best = routing.logits.topk(k + 1, dim=-1).values  # (tokens, k + 1)
    # Without expert i the k-th largest moves down by one place if i was among the first k.
    among_best = routing.logits >= best[:, k - 1 : k]  # (tokens, E)
    threshold = torch.where(among_best, best[:, k:], best[:, k - 1 : k])
    probability = torch.special.ndtr((routing.clean_logits - threshold) / routing.noise_std)
    return _squared_variation(_means(probability, 1, mask)[0])


def total_balance_loss(routings: list, config: ModelConfig, n: int = 1, mask=None) -> Tensor:
    """Σ factor · loss over the balance losses of `config` and the MoE layers: routings has one of
    each layer (None at dense ones), of n sequences. A table of token ids is not balanced. Layer by
    layer, as pooled counts would call even what collapsed onto another expert in each layer."""
    devices, most = config.n_group, config.topk_group
    terms = {
        "aux_loss_alpha": lambda r: expert_balance_loss(r, n, mask),
        "device_loss_alpha": lambda r: device_balance_loss(r, devices, n, mask),
        "communication_loss_alpha": lambda r: communication_balance_loss(r, devices, most, n, mask),
        "router_z_loss_alpha": lambda r: router_z_loss(r, mask),
        "importance_loss_alpha": lambda r: importance_loss(r, mask),
        "load_loss_alpha": lambda r: load_loss(r, mask),
    }
    factors = {name: getattr(config, name) for name in terms if getattr(config, name)}
    kinds = config.mlp_layer_types or ("moe",) * len(routings)
    layers = [r for r, kind in zip(routings, kinds, strict=True) if r and kind != "hash_moe"]
    losses = [a * terms[name](routing) for name, a in factors.items() for routing in layers]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def max_violation(load: Tensor) -> float:
    """MaxVio = max load / mean load − 1 (Loss-Free Balancing, 2024): 0 is even, E − 1 is one expert
    doing it all. load (E,) counts of one layer; a layer that got no token counts as even."""
    load = _checked(load)
    return float(load.max() / load.mean() - 1) if load.sum() > 0 else 0.0


def load_entropy(load: Tensor) -> float:
    """Entropy of the load divided by log E: 1 is even, 0 is one expert doing it all."""
    load = _checked(load)
    if len(load) == 1 or load.sum() == 0:
        return 1.0
    share = load / load.sum()
    return float(torch.special.entr(share).sum() / torch.log(torch.tensor(float(len(load)))))


def _checked(load: Tensor) -> Tensor:
    """A load (E,) on the CPU, in float64."""
    require_tensor("load", load, ("experts",), low=0, finite=True)
    require(load.numel() > 0, "load", tuple(load.shape), "a count for every expert")
    return load.cpu().double()


def _counts(routing: Routing) -> Tensor:
    """(tokens, E), 1 where the token chose the expert."""
    choices = routing.choices().to(routing.scores.dtype)  # (tokens, k)
    return torch.zeros_like(routing.scores).scatter_add_(1, routing.experts, choices)


def _load_and_affinity(routing: Routing, n_sequences: int, mask) -> tuple[Tensor, Tensor]:
    """f and P of every sequence, each (n_sequences, E); f is detached."""
    _require_record(routing)
    counts = _means(_counts(routing).detach(), n_sequences, mask)
    load = counts * routing.n_experts / counts.sum(-1, keepdim=True).clamp(min=1e-9)
    total = routing.scores.sum(-1, keepdim=True)  # (tokens, 1)
    return load, _means(routing.scores / total.clamp(min=1e-9), n_sequences, mask)


def _means(values: Tensor, n_sequences: int, mask: Tensor | None) -> Tensor:
    """values (tokens, n) -> (n_sequences, n), the mean over the real tokens of each sequence."""
    tokens = len(values)
    require_divisor("n_sequences", n_sequences, tokens, "the number of tokens")
    real = torch.ones(tokens, device=values.device) if mask is None else checked_marks(mask, tokens)
    real = real.to(values.dtype).view(n_sequences, -1, 1)
    values = values.view(n_sequences, -1, values.shape[-1])  # (n_sequences, tokens of each, n)
    return (values * real).sum(1) / real.sum(1).clamp(min=1)


def _device_blocks(routing: Routing, n_devices: int) -> tuple[int, int]:
    """The shape (n_devices, experts of each) that E numbers fall into."""
    _require_record(routing)
    require_divisor("n_devices", n_devices, routing.n_experts, "the number of experts")
    return n_devices, routing.n_experts // n_devices


def _squared_variation(values: Tensor) -> Tensor:
    """(standard deviation / mean)²; one expert alone cannot vary."""
    return values.var(unbiased=False) / values.mean().square().clamp(min=1e-10)


def _require_record(routing: Routing, kind: type[Routing] = Routing) -> None:
    wants = "the NoisyRouting of a NoisyTopKRouter" if kind is NoisyRouting else "a Routing"
    require(isinstance(routing, kind), "routing", type(routing).__name__, wants, TypeError)
