"""Upcycling a trained model of transformers: its feed-forward layers become a mixture of experts
that computes, at the start, what they did.

Every expert starts as a copy of the feed-forward layer (Komatsuzaki et al. 2022, arXiv 2212.05055),
or as one of m slices of its hidden units (He et al. 2024, arXiv 2410.07524); the router starts
random. The weights of a token's k experts sum to 1, so copies add up to the dense layer whatever
the router chooses. Slices of one copy share their row of the router and are therefore chosen
together, each scaled by m. `moe_lib.training.upcycling` does the same with our own models.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.interop.dense_layers import FeedForward, feed_forwards, linear_parts
from moe_lib.model.balance import expert_balance_loss
from moe_lib.model.routing import Routing
from moe_lib.validation import Count, NonNegative, Seed, checked

SIZES = "n_routed_experts", "num_experts_per_tok", "slices"
ROUTER_STD = 0.02  # of the router's first weights, as in BERT


class UpcycledRouter(nn.Module):
    """Softmax over E experts; the k best, with weights that sum to 1. The weight is (E, d)."""

    def __init__(self, hidden_size: int, n_experts: int, k: int):
        super().__init__()
        self.top_k, self.num_experts = k, n_experts
        self.weight = nn.Parameter(torch.zeros(n_experts, hidden_size))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (tokens, d) -> logits (tokens, E), weights and experts (tokens, k)"""
        logits = nn.functional.linear(x.float(), self.weight.float())
        top = logits.softmax(-1).topk(self.top_k, dim=-1)
        return logits, top.values / top.values.sum(-1, keepdim=True), top.indices


class UpcycledExperts(nn.ModuleList):
    """E feed-forward layers, each (tokens, d) -> (tokens, d)."""

    @property
    def num_experts(self) -> int:
        return len(self)

    def forward(self, x: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """x (tokens, d), both others (tokens, k) -> (tokens, d)"""
        output = torch.zeros_like(x)
        for number, expert in enumerate(self):
            tokens, place = (top_k_index == number).nonzero(as_tuple=True)
            if len(tokens):
                weight = top_k_weights[tokens, place, None].to(x.dtype)
                output = output.index_add(0, tokens, (expert(x[tokens]) * weight).to(x.dtype))
        return output


class UpcycledLayer(nn.Module):
    """A router and its experts, in the place of one feed-forward layer."""

    def __init__(self, experts: list[nn.Module], hidden_size: int, k: int):
        super().__init__()
        self.gate = UpcycledRouter(hidden_size, len(experts), k)
        self.experts = UpcycledExperts(experts)

    def forward(self, x: Tensor, *unused) -> Tensor:
        """x (..., d) -> the same shape"""
        flat = x.reshape(-1, x.shape[-1])
        _, weights, experts = self.gate(flat)
        return self.experts(flat, experts, weights).view(x.shape)


@checked
def upcycle_transformers(
    model: nn.Module,
    n_routed_experts: Count = 8,
    num_experts_per_tok: Count = 2,
    *,
    noise: NonNegative = 0.0,
    slices: Count = 1,
    seed: Seed = 0,
) -> nn.Module:
    """A copy of a dense `model` of transformers whose feed-forward layers are n_routed_experts
    experts each, of which a token passes num_experts_per_tok. It computes what `model` does.

    model    an encoder or decoder with plain feed-forward layers (BERT and its kin, DistilBERT,
             GPT-2, GPT-NeoX, Llama, Qwen2, Qwen3, Gemma, T5 …), also with a head of its task
    noise    experts get normal noise of this many standard deviations of each weight matrix
             (0: exact copies)
    slices   m: an expert is one of m slices of the hidden units; both counts are multiples of m
    seed     of the router and the noise; the caller's random numbers stay as they are

    Returns a model in the same mode, device and type. Raises TypeError for something that is no
    model of transformers; ValueError naming the argument for a model that has experts already or
    whose feed-forward layers cannot be found or cut, and for sizes that do not fit.
    """
    sizes = n_routed_experts, num_experts_per_tok, slices
    found = _checked_layers(model, *sizes)
    generator = torch.Generator().manual_seed(seed)
    new = copy.deepcopy(model)
    for layer, twin in zip(found, feed_forwards(new), strict=True):
        put_experts(twin, *sizes)
        block = upcycled_layer(twin)
        _fill_router(block, slices, generator)
        if noise:
            _add_noise(block, noise, generator)
        block.train(layer.module.training)
    new.config.upcycled = dict(zip(SIZES, sizes, strict=True))
    return new


class UpcycledBalance:
    """The expert-level balance loss of an upcycled model while it is tuned.

        with UpcycledBalance(model) as balance:
            loss = model(**batch).loss + 0.01 * balance(batch["attention_mask"])

    Within the block the routers are watched; the model itself keeps nothing. ValueError for a model
    that was not upcycled.
    """

    @checked
    def __init__(self, model: nn.Module):
        self._layers = list(upcycled_layers(model))
        require(bool(self._layers), "model", type(model).__name__, "an upcycled model")
        self._hooks, self._last = [], {}

    def __enter__(self) -> "UpcycledBalance":
        for layer in self._layers:
            self._hooks.append(layer.gate.register_forward_hook(self._keep))
        return self

    def __exit__(self, *error) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._last = [], {}

    def _keep(self, gate: UpcycledRouter, inputs: tuple, output: tuple) -> None:
        self._last[gate] = output

    @checked
    def __call__(self, attention_mask: Tensor | None = None) -> Tensor:
        """Sum over the layers of the loss of the last forward pass: 1 per layer where both load and
        affinity are even. Without its factor.

        attention_mask  (batch, sequence), 1 at real tokens: padding is left out

        Raises ValueError before a pass in the block, or for a mask of another number of tokens.
        """
        mask, losses = None if attention_mask is None else attention_mask.flatten().bool(), []
        for routing in self.routing():
            if mask is not None:
                got, tokens = tuple(attention_mask.shape), len(routing.logits)
                require(len(mask) == tokens, "attention_mask", got, f"{tokens} tokens")
            losses.append(expert_balance_loss(routing, mask=mask))
        return torch.stack(losses).sum()

    def routing(self) -> list[Routing]:
        """The routing of the last forward pass, one per layer of experts, in order. ValueError
        before a pass in the block."""
        found = []
        for layer in self._layers:
            wants = "a forward pass within the block first"
            require(layer.gate in self._last, "balance", "no routing", wants)
            logits, weights, experts = self._last[layer.gate]
            kept = torch.ones_like(experts, dtype=torch.bool)
            found.append(Routing(experts, weights, logits.softmax(-1), logits, kept))
        return found


def upcycled_layers(model: nn.Module) -> Iterator[UpcycledLayer]:
    """The layers of experts, in order."""
    return (module for module in model.modules() if isinstance(module, UpcycledLayer))


def put_experts(layer: FeedForward, n_experts: int, k: int, slices: int) -> None:
    """Put copies, or slices, of a feed-forward layer and a router of zeros in its place."""
    parts = [_slice(layer.module, number, slices) for number in range(slices)]
    experts = [copy.deepcopy(parts[number % slices]) for number in range(n_experts)]
    weight = next(layer.module.parameters())
    block = UpcycledLayer(experts, layer.hidden_size, k).to(weight.device, weight.dtype)
    layer.replace(block)


def upcycled_layer(layer: FeedForward) -> UpcycledLayer:
    return getattr(layer.parent, layer.name)


@torch.no_grad()
def _slice(module: nn.Module, number: int, slices: int) -> nn.Module:
    """Slice `number` of a feed-forward layer, whose output is m times its part of the sum."""
    part = copy.deepcopy(module)
    if slices == 1:
        return part
    inward, outward = linear_parts(part)
    for linear in inward:
        linear.cut(linear.weight.chunk(slices, dim=linear.out_axis)[number])
        if linear.bias is not None:
            linear.set_bias(linear.bias.chunk(slices)[number])
    kept = outward.weight.chunk(slices, dim=1 - outward.out_axis)[number] * slices
    outward.cut(kept)
    return part


@torch.no_grad()
def _fill_router(block: UpcycledLayer, slices: int, generator: torch.Generator) -> None:
    weight = block.gate.weight
    rows = torch.randn(len(weight) // slices, weight.shape[1], generator=generator) * ROUTER_STD
    weight.copy_(rows.repeat_interleave(slices, dim=0))


@torch.no_grad()
def _add_noise(block: UpcycledLayer, noise: float, generator: torch.Generator) -> None:
    for expert in block.experts:
        for weight in (p for p in expert.parameters() if p.dim() == 2):
            weight += (
                noise * weight.std() * torch.randn(weight.shape, generator=generator).to(weight)
            )


def _checked_layers(model, n_experts: int, k: int, slices: int) -> list[FeedForward]:
    wants = "a model of transformers"
    named = hasattr(model, "config") and hasattr(model.config, "model_type")
    require(named, "model", type(model).__name__, wants, TypeError)
    require(next(upcycled_layers(model), None) is None, "model", "one with experts", "a dense one")
    wants = f"at most n_routed_experts ({n_experts})"
    require(k <= n_experts, "num_experts_per_tok", k, wants)
    for name, value in zip(SIZES, (n_experts, k), strict=False):
        require(value % slices == 0, name, value, f"a multiple of slices ({slices})")
    found = feed_forwards(model)
    if slices > 1:
        for layer in found:
            inward, _ = linear_parts(layer.module)
            width = inward[0].sizes[1]
            require(width % slices == 0, "slices", slices, f"a divisor of {width}")
    return found
