"""Take away what each token relies on most: its strongest routed experts, or the shared ones.

The two analyses of DeepSeekMoE, section 4.5 (arXiv 2401.06066), and the control that the first one
needs. Unlike `experts_off`, which removes the same experts for all tokens, these look at every
token by itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import LanguageModel, MoELayer
from moe_lib.modules import bare
from moe_lib.validation import Natural, Seed, checked


@checked
@contextmanager
def strongest_experts_off(model: nn.Module, n: Natural) -> Iterator[nn.Module]:
    """Within the `with` block, no token may use the `n` routed experts it has the highest affinity
    to, in any layer.

    Their logits become -inf, so each token takes its next best experts, at the same cost, and the
    affinities of the others grow to a sum of 1. Afterwards the model is as it was, also after an
    error.

    Raises TypeError for a model that is no LanguageModel; ValueError for a model without experts, a
    router that is not top-k, or an `n` that leaves fewer experts than a token needs.
    """
    with _routed_anew(model, n, lambda logits: logits.topk(n, dim=-1).indices):
        yield model


@checked
@contextmanager
def random_experts_off(model: nn.Module, n: Natural, seed: Seed = 0) -> Iterator[nn.Module]:
    """The control of `strongest_experts_off`: each token loses `n` experts drawn at random, anew in
    every layer.

    The draw depends on the seed and on what runs within the block, in order. Raises as
    `strongest_experts_off`.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same draw on every device

    def draw(logits: Tensor) -> Tensor:
        return (
            torch.rand(logits.shape, generator=generator).topk(n, dim=-1).indices.to(logits.device)
        )

    with _routed_anew(model, n, draw):
        yield model


@checked
@contextmanager
def shared_experts_off(model: nn.Module) -> Iterator[nn.Module]:
    """Within the `with` block there are no shared experts; each token takes as many more routed
    ones instead.

    The cost of a token stays the same. Afterwards the model is as it was, also after an error.

    Raises TypeError for a model that is no LanguageModel; ValueError for one without shared
    experts, with a router that is not top-k, or with too few routed experts to take their place.
    """
    layers = _moe_layers(model)
    config = bare(model).config
    n = config.n_shared_experts
    require(n > 0, "model", "no shared experts", "a model with n_shared_experts above 0")
    for layer in layers:
        _require_left(layer, config.num_experts_per_tok + n, "model")
    handles = []
    try:
        for layer in layers:
            handles.append(
                layer.shared.register_forward_hook(
                    lambda module, args, output: torch.zeros_like(output)
                )
            )
            bare(layer.router).num_experts_per_tok += n
        yield model
    finally:
        for layer in layers[: len(handles)]:
            bare(layer.router).num_experts_per_tok -= n
        for handle in handles:
            handle.remove()


@contextmanager
def _routed_anew(
    model: LanguageModel, n: int, banned: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Route every MoE layer of `model` a second time, without the experts banned(logits), (tokens,
    n) int64."""
    layers = _moe_layers(model)
    for layer in layers:
        _require_left(layer, bare(layer.router).num_experts_per_tok + n, "n")

    def hook(module: nn.Module, args: tuple, routing):
        return bare(module).route(routing.logits.scatter(1, banned(routing.logits), -torch.inf))

    handles = [layer.router.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moe_layers(model: LanguageModel) -> list[MoELayer]:
    model = bare(model)
    require(
        isinstance(model, LanguageModel),
        "model",
        type(model).__name__,
        "a moe_lib LanguageModel",
        TypeError,
    )
    layers = [bare(block.feed_forward) for block in model.layers]
    layers = [layer for layer in layers if isinstance(layer, MoELayer)]
    require(
        bool(layers), "model", "a dense model", "a model with experts (n_routed_experts above 0)"
    )
    for layer in layers:
        router = type(bare(layer.router)).__name__
        require(
            bare(layer.router).takes_k_best,
            "model",
            router,
            "a router that takes the k best experts",
        )
    return layers


def _require_left(layer: MoELayer, needed: int, argument: str) -> None:
    router = bare(layer.router)
    total, k = router.n_routed_experts, router.num_experts_per_tok
    require(
        needed <= total,
        argument,
        f"a router of {total} experts",
        f"{needed} or more: {k} for each token and {needed - k} besides",
    )
