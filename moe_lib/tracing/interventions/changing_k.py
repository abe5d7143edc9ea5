"""Give every token more or fewer experts than the model was trained with, to see what the number is
worth."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel, MoELayer
from moe_lib.model.routers import Router
from moe_lib.tracing.hugging_face import Place, find_places, limiting_groups
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
    try:
        for holder, name, _ in before:
            setattr(holder, name, k)
        yield model
    finally:
        for holder, name, value in reversed(before):
            setattr(holder, name, value)


def largest_k(model: nn.Module) -> int:
    """The largest k that `experts_per_token` takes: E, or with group-limited routing the experts of
    the groups that a token may use. Raises ValueError, naming the router, for a model whose k
    cannot be changed."""
    return min(setting.most for setting in _settings(model))


def trained_k(model: nn.Module) -> dict[int, int]:
    """{layer: its num_experts_per_tok}, in the order of the layers. Raises as `largest_k`."""
    return {setting.layer: getattr(*setting.places[0]) for setting in _settings(model)}


def _settings(model: nn.Module) -> list[_Setting]:
    if isinstance(model, LanguageModel):
        layers = [(index, block.feed_forward) for index, block in enumerate(model.layers)]
        settings = [
            _own(index, layer.router) for index, layer in layers if isinstance(layer, MoELayer)
        ]
    else:
        require(
            isinstance(model, nn.Module),
            "model",
            type(model).__name__,
            "a language model",
            TypeError,
        )
        places = [place for place in find_places(model) if reads_text(place, model)]
        settings = [_other(place) for place in places]
    require(
        bool(settings),
        "model",
        type(model).__name__,
        "a model with experts that this library knows",
    )
    return settings


def _own(index: int, router: Router) -> _Setting:
    name = type(router).__name__
    require(
        router.only_k is None and not router.by_token_id,
        "model",
        f"layer {index}, {name}",
        "a router whose number of experts per token can be changed",
    )
    return _Setting(index, ((router, "num_experts_per_tok"),), 1, router.k_range(router)[1])


def _other(place: Place) -> _Setting:
    router = place.router
    name = type(router).__name__
    modules = (router, place.block) if router is not None else ()
    where = [(module, "top_k") for module in modules if type(vars(module).get("top_k")) is int]
    if not where and hasattr(
        getattr(router, "config", None), "top_k_experts"
    ):  # Gemma 4 asks its configuration
        where = [(router.config, "top_k_experts")]
    if (
        type(place.block).__name__ == "OpenAIPrivacyFilterMLP"
    ):  # the factor it multiplies with is k, under this name
        where.append((place.block, "num_experts"))
    takes = bool(where) and name not in _FIXED_ELSEWHERE and not hasattr(router, "tid2eid")
    require(
        takes,
        "model",
        f"layer {place.index}, {name}",
        "a router whose number of experts per token can be changed",
    )
    n_group, topk_group = limiting_groups(router)
    least = 2 if name == "LongcatFlashTopkRouter" else 1
    return _Setting(
        place.index, tuple(where), least, number_of_experts(place) // n_group * topk_group
    )
