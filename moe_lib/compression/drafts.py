"""Drafts: models that guess cheaply what a model will say. Each is a LanguageModel of its own that
shares the weights of the model it is made of: no memory, and a cache of its own."""

import copy

import torch
from torch import Tensor, nn

from moe_lib.compression.expert_layers import expert_layers
from moe_lib.errors import require, require_whole
from moe_lib.model import LanguageModel, Routing
from moe_lib.modules import bare
from moe_lib.shapes_only import shapes_only
from moe_lib.validation import Count, checked


class NoExperts(nn.Module):
    """Stands where experts stood and adds nothing: the shared expert works alone."""

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """x (tokens, d) -> zeros (tokens, d)"""
        return torch.zeros_like(x)


@checked
def fewer_experts_draft(model: nn.Module, k: Count = 1) -> LanguageModel:
    """The model with `k` experts per token, weighted as its router weighs so many. ValueError for a
    k that is not below the model's own, a dense model, or a router that takes no other k; TypeError
    for another model."""
    layers = expert_layers(model)
    own = {layer.router.num_experts_per_tok for layer in layers.values()}
    require(k < min(own), "k", k, f"less than the model's own {min(own)}")
    fixed = next((layer.router for layer in layers.values() if not layer.router.takes_k_best), None)
    require(fixed is None, "model", type(fixed).__name__, "routers that take their k best")
    draft = sharing(model)
    for layer in expert_layers(draft).values():
        layer.router.num_experts_per_tok = k
    return draft


@checked
def shared_only_draft(model: nn.Module) -> LanguageModel:
    """The model without its routed experts; shared experts, attention and dense layers work.
    ValueError for a dense model, TypeError for another one."""
    expert_layers(model)
    draft = sharing(model)
    for layer in expert_layers(draft).values():
        layer.experts = NoExperts()
    return draft


@checked
def early_exit_draft(model: nn.Module, n_layers: Count) -> LanguageModel:
    """The first `n_layers` blocks of the model, then its last norm and its head. ValueError unless
    there are fewer than the model has; TypeError for another model."""
    inner = bare(model)
    kind = type(inner).__name__
    require(isinstance(inner, LanguageModel), "model", kind, "a moe_lib LanguageModel", TypeError)
    require_whole("n_layers", n_layers, 1, len(inner.layers) - 1)
    draft = sharing(inner)
    draft.layers = draft.layers[:n_layers]
    draft.config = copy.copy(inner.config)  # its cache holds so many layers; no new model is made
    object.__setattr__(draft.config, "num_hidden_layers", n_layers)
    return draft


def sharing(model: nn.Module) -> LanguageModel:
    """Another LanguageModel with the same tensors as `model`, in eval mode. Modules that were put
    into it by hand (merged experts) are the same modules."""
    model = bare(model)
    with shapes_only():
        twin = LanguageModel(model.config)
    for one, other in zip(twin.layers, model.layers, strict=True):
        mixture = bare(other.feed_forward)
        if hasattr(mixture, "experts"):
            one.feed_forward.experts = mixture.experts
    twin.load_state_dict(model.state_dict(), assign=True)
    if model.config.tie_word_embeddings:
        twin.head.weight = twin.embedding.weight
    return twin.requires_grad_(False).eval()
