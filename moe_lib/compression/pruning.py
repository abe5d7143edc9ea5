"""Taking experts away for good: a smaller model of the same kind."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from moe_lib.compression.expert_layers import expert_layers
from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.modules import bare
from moe_lib.shapes_only import shapes_only
from moe_lib.validation import Count, checked, require_tensor


@checked
def best_experts(scores: Mapping[int, Tensor], n: Count) -> dict[int, list[int]]:
    """The `n` experts of each layer with the largest scores, {layer: numbers in order}; of equal
    ones the first. scores {layer: (E,)}. ValueError for an n above E, or scores that are NaN."""
    found = {}
    for layer, row in scores.items():
        require_tensor(f"scores[{layer}]", row, ("E",), "floating", finite=True)
        require(n <= len(row), "n", n, f"at most the {len(row)} experts of layer {layer}")
        order = row.argsort(descending=True, stable=True)
        found[layer] = sorted(order[:n].tolist())
    return found


@checked
@torch.no_grad()
def prune_experts(model: nn.Module, kept: Mapping[int, list[int]]) -> LanguageModel:
    """A new LanguageModel, in eval mode, with these experts alone, {layer: numbers}: their weights,
    their rows of the router and of its bias are copied, in the order given.

    A token chooses its k best among them. The result is a plain model: it is traced, trained and
    saved like any other. Every MoE layer keeps the same number.

    Raises TypeError for another model; ValueError for a dense one, a layer that is left out, has
    another number or no experts, an expert twice or unknown, fewer than k, a router by token id or
    with groups.
    """
    layers, model = expert_layers(model), bare(model)
    config = model.config
    require(set(kept) == set(layers), "kept", sorted(kept), f"the layers {sorted(layers)}")
    numbers = {len(experts) for experts in kept.values()}
    require(len(numbers) == 1, "kept", sorted(numbers), "the same number of experts in every layer")
    require(config.n_group == 1, "model", f"n_group {config.n_group}", "a router without groups")
    for index, layer in layers.items():
        name, total = f"kept[{index}]", layer.router.n_routed_experts
        experts = kept[index]
        known = all(isinstance(e, int) and 0 <= e < total for e in experts)
        require(
            known and len(set(experts)) == len(experts),
            name,
            experts,
            f"different experts from 0 to {total - 1}",
        )
        k = layer.router.num_experts_per_tok
        require(len(experts) >= k, name, experts, f"at least {k}, as every token chooses {k}")
        by_id = layer.router.by_token_id
        require(not by_id, "model", f"a router by token id in layer {index}", "one with logits")
    smaller = config.replace(n_routed_experts=numbers.pop())
    with shapes_only():
        pruned = LanguageModel(smaller)
    tensors = {}
    for name, tensor in model.state_dict().items():
        rows = _rows_of(name, tensor, layers)
        chosen = tensor if rows is None else tensor[torch.tensor(kept[rows], device=tensor.device)]
        tensors[name] = chosen.clone()
    pruned.load_state_dict(tensors, assign=True)
    if config.tie_word_embeddings:
        pruned.head.weight = pruned.embedding.weight
    return pruned.requires_grad_().eval()


def _rows_of(name: str, tensor: Tensor, layers) -> int | None:
    """The layer whose experts the first dimension of this tensor counts; None for other tensors."""
    parts = name.split(".")
    if parts[:1] != ["layers"] or parts[2:3] != ["feed_forward"]:
        return None
    index, inside = int(parts[1]), parts[3]
    if index not in layers or inside not in ("experts", "router"):
        return None
    return index if tensor.shape[:1] == (layers[index].router.n_routed_experts,) else None
