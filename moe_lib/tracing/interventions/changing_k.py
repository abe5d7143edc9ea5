"""Give every token more or fewer experts than the model was trained with, to see what the number is
worth."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.utils.hooks import RemovableHandle

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel, MoELayer
from moe_lib.model.routers import Router
from moe_lib.modules import bare
from moe_lib.tracing.hugging_face import (
    WatchedLayer,
    expert_arguments,
    find_layers,
    limiting_groups,
)
from moe_lib.tracing.interventions.banning import number_of_experts, reads_text

# A table of the experts of every token, a choice that is no top-k, or one that its authors wrote
# for one k alone.
_FIXED_ELSEWHERE = (
    "DeepseekV4HashRouter",
    "NllbMoeTop2Router",
    "SwitchTransformersTop1Router",
    "PhimoeTopKRouter",
    "ZayaRouter",
)


@dataclass(frozen=True)
class _Setting:
    """Where one layer keeps its k: (object, attribute) pairs. least, most: the k that it takes."""

    layer: int
    places: tuple[tuple[object, str], ...]
    least: int
    most: int


@contextmanager
def experts_per_token(model: nn.Module, k: int) -> Iterator[nn.Module]:
    """Within the `with` block every MoE layer of `model` sends each token to `k` experts
    (num_experts_per_tok).

    The router stays as it was trained: its k best experts are taken, and their weights computed, as
    a model built with that k would do it. Afterwards the model is as it was, also after an error.
    Experts in attention (JetMoE) and the decoder beside an encoder keep their k.

    model   a LanguageModel, or a Mixture-of-Experts model of transformers
    k       1 to largest_k(model); LongCat's experts in transformers 5.23 take 2 or more. With
            expert choice (Zhou et al. 2022) the mean number of experts of a token

    Raises TypeError for a k that is no whole number; ValueError for a k out of range, a model
    without experts, or one whose routers take no other k: a hash table, Switch's one expert,
    GShard's two.
    """
    require_whole("k", k)
    settings = _settings(model)
    least, most = (
        max(setting.least for setting in settings),
        min(setting.most for setting in settings),
    )
    require(
        least <= k <= most,
        "k",
        k,
        f"{least} to {most}, the numbers of experts that a token of this model can have",
    )
    before = [
        (holder, name, getattr(holder, name))
        for setting in settings
        for holder, name in setting.places
    ]
    handles = []
    try:
        for holder, name, _ in before:
            setattr(holder, name, k)
        watched = [layer for layer in _other_layers(model) if layer.experts is not None]
        for setting in settings:
            layers = [layer for layer in watched if layer.index == setting.layer]
            handles += [_obedience_check(layer, *setting.places[0]) for layer in layers]
        yield model
    finally:
        for handle in handles:
            handle.remove()
        for holder, name, value in reversed(before):
            setattr(holder, name, value)


def _obedience_check(layer: WatchedLayer, holder: object, name: str) -> RemovableHandle:
    """ValueError at the first pass in which a token of a layer gets another number of experts than
    was set: some routers keep their k where nobody looks for it."""
    names = list(inspect.signature(layer.experts.forward).parameters)
    index_name, _ = expert_arguments(layer.experts)

    def on_experts(module, args, kwargs):
        got = {**dict(zip(names, args, strict=False)), **kwargs}[index_name].shape[-1]
        k = getattr(holder, name)  # another change may be nested in this one
        wants = f"a router that obeys; layer {layer.index} still gives each token {got}"
        require(got == k, "k", k, wants)

    experts = bare(layer.experts_outside, adapters=False)
    return experts.register_forward_pre_hook(on_experts, with_kwargs=True)


def largest_k(model: nn.Module) -> int:
    """The largest k that `experts_per_token` takes: E, or with group-limited routing the experts of
    the groups that a token may use. Raises ValueError, naming the router, for a model whose k
    cannot be changed."""
    return min(setting.most for setting in _settings(model))


def trained_k(model: nn.Module) -> dict[int, int]:
    """{layer: its num_experts_per_tok}, in the order of the layers. Raises as `largest_k`."""
    return {setting.layer: getattr(*setting.places[0]) for setting in _settings(model)}


def _settings(model: nn.Module) -> list[_Setting]:
    model = bare(model)
    if isinstance(model, LanguageModel):
        layers = [(index, bare(block.feed_forward)) for index, block in enumerate(model.layers)]
        settings = [
            _own(index, bare(layer.router))
            for index, layer in layers
            if isinstance(layer, MoELayer)
        ]
    else:
        require(
            isinstance(model, nn.Module),
            "model",
            type(model).__name__,
            "a language model",
            TypeError,
        )
        settings = [_other(layer) for layer in _other_layers(model)]
    require(
        bool(settings),
        "model",
        type(model).__name__,
        "a model with experts that this library knows",
    )
    return settings


def _other_layers(model: nn.Module) -> list[WatchedLayer]:
    """The layers of another library's model that a text passes; none of our own."""
    model = bare(model)
    if isinstance(model, LanguageModel):
        return []
    return [layer for layer in find_layers(model) if reads_text(layer, model)]


def _own(index: int, router: Router) -> _Setting:
    name = type(router).__name__
    require(
        router.only_k is None and not router.by_token_id,
        "model",
        f"layer {index}, {name}",
        "a router whose number of experts per token can be changed",
    )
    return _Setting(index, ((router, "num_experts_per_tok"),), 1, router.k_range(router)[1])


def _other(layer: WatchedLayer) -> _Setting:
    router = layer.router
    name = type(router).__name__
    modules = (router, layer.block) if router is not None else ()
    where = [(module, "top_k") for module in modules if type(vars(module).get("top_k")) is int]
    if not where and hasattr(
        getattr(router, "config", None), "top_k_experts"
    ):  # Gemma 4 asks its configuration
        where = [(router.config, "top_k_experts")]
    if (
        type(layer.block).__name__ == "OpenAIPrivacyFilterMLP"
    ):  # the factor it multiplies with is k, under this name
        where.append((layer.block, "num_experts"))
    takes = bool(where) and name not in _FIXED_ELSEWHERE and not hasattr(router, "tid2eid")
    require(
        takes,
        "model",
        f"layer {layer.index}, {name}",
        "a router whose number of experts per token can be changed",
    )
    n_group, topk_group = limiting_groups(router)
    least = 2 if name == "LongcatFlashTopkRouter" else 1
    return _Setting(
        layer.index, tuple(where), least, number_of_experts(layer) // n_group * topk_group
    )
