"""Upcycling: a trained dense model turned into a mixture of experts that goes on where the dense
one stopped.

Every expert starts as a copy of the dense feed-forward layer, or as a slice of it when experts are
narrower (Komatsuzaki et al. 2022, arXiv 2212.05055; Qwen1.5-MoE did it with slices and noise). The
router starts random. All else is copied. The weights are scaled so that the new model computes what
the dense one did:

    FFN(x) = Σ_j down[:, j] · silu(gate_j · x) · (up_j · x)

is a sum over hidden units j. So m slices of F / m units each add up to the whole, and so do copies
whose weights sum to 1.
"""

import dataclasses

import torch
from torch import Tensor

from moe_lib.config import BALANCE, ModelConfig
from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.model.layers import SwiGLU
from moe_lib.model.moe import MoELayer
from moe_lib.validation import NonNegative, Seed, checked

# What an upcycled model may have otherwise than its dense model. All else is copied and has to be
# equal.
_FREE = {
    "intermediate_size",
    "n_routed_experts",
    "num_experts_per_tok",
    "n_shared_experts",
    "moe_intermediate_size",
    "first_k_dense_replace",
    "mlp_layer_types",
    "router",
    "scoring_func",
    "norm_topk_prob",
    "routed_scaling_factor",
    "n_group",
    "topk_group",
    "capacity_factor",
    "capacity_per",
    "never_drop_share",
    "initializer_range",
    "seq_aux",
    *BALANCE,
}


@checked
def upcycle(
    dense_model: LanguageModel,
    config: ModelConfig,
    *,
    noise: NonNegative = 0.0,
    virtual_groups: bool = False,
    seed: Seed = 0,
) -> LanguageModel:
    """A new model of `config`, made of the weights of `dense_model`, on its device and in its type.

    dense_model     a model without experts, its feed-forward layers F wide
    config          sizes and router of the new model; equal to the dense one's in all that is
                    copied. F has to be m times moe_intermediate_size, m a whole number: an expert
                    is a slice of F / m hidden units
    noise           routed experts get normal noise of this many standard deviations of each weight
                    (0: exact copies)
    virtual_groups  the slices of one copy share their row of the router, so that they are chosen
                    together (He et al. 2024, arXiv 2410.07524)
    seed            of the router and the noise

    m = 1: routed and shared experts are all full copies; the n + k that a token passes share the
    output evenly. The new model computes what the dense one does, whatever the router chooses.

    m > 1: the n shared experts hold the first n slices, the routed ones the other m - n in turn,
    scaled so that all of them together, chosen equally, give the whole. Exact if a token's experts
    hold every slice with equal weight, as virtual groups see to. Else right on average over routers
    only: a slice chosen twice stands for one left out.

    Raises TypeError or ValueError naming the argument for a model with experts, and for a config
    that differs in what is copied, cannot keep the function (weights without a constant sum, biases
    in the feed-forward layers), or has sizes that do not divide.
    """
    _check(dense_model.config, config)
    slices = dense_model.config.intermediate_size // config.moe_intermediate_size
    routed_slices = max(slices - config.n_shared_experts, 1)
    if virtual_groups:
        for name in ("n_routed_experts", "num_experts_per_tok"):
            wanted = (
                f"a multiple of {routed_slices} with virtual_groups: the slices that routed "
                "experts hold"
            )
            require(getattr(config, name) % routed_slices == 0, name, getattr(config, name), wanted)
        for layer, router in config.routers.items():
            got, wanted = f'True with router "{router.name}" in block {layer}', "False: a table"
            wanted += " of token ids chooses without the rows that virtual groups share"
            require(not router.by_token_id, "virtual_groups", got, wanted)

    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        model = LanguageModel(config).to(dense_model.device, dense_model.embedding.weight.dtype)
    generator = torch.Generator().manual_seed(seed)
    copied = {
        name: weight
        for name, weight in dense_model.state_dict().items()
        if ".feed_forward." not in name
    }
    model.load_state_dict(copied, strict=False)
    for dense, new in zip(dense_model.layers, model.layers, strict=True):
        if isinstance(new.feed_forward, MoELayer):
            _fill(new.feed_forward, dense.feed_forward, config, slices, noise, generator)
            if virtual_groups:
                _share_rows(new.feed_forward.router.weight, routed_slices)
        else:
            new.feed_forward.load_state_dict(dense.feed_forward.state_dict())
    return model.train(dense_model.training)


@torch.no_grad()
def _fill(
    layer: MoELayer,
    dense: SwiGLU,
    config: ModelConfig,
    slices: int,
    noise: float,
    generator: torch.Generator,
) -> None:
    """Shared experts are slices 0 … n - 1 in one wide layer; routed expert e is slice n + e mod (m
    - n)."""
    gate, up, down = (getattr(dense, name).weight for name in ("gate_proj", "up_proj", "down_proj"))
    gates, ups, downs = (
        gate.chunk(slices),
        up.chunk(slices),
        down.chunk(slices, dim=1),
    )  # (I, d), (I, d), (d, I)
    shared, chosen, weight_sum = (
        config.n_shared_experts,
        config.num_experts_per_tok,
        config.routed_scaling_factor,
    )
    if (
        slices == 1
    ):  # full copies: shared / (shared + chosen) of the output comes from the shared ones
        first_routed, shared_scale, routed_scale = (
            0,
            1 / (shared + chosen),
            chosen / (shared + chosen) / weight_sum,
        )
    else:
        first_routed, shared_scale, routed_scale = shared, 1.0, (slices - shared) / weight_sum

    for expert in range(config.n_routed_experts):
        part = first_routed + expert % (slices - first_routed)
        layer.experts.gate_up_proj[expert] = torch.cat((gates[part], ups[part]))
        layer.experts.down_proj[expert] = downs[part] * routed_scale
    if noise:
        for weight in (layer.experts.gate_up_proj, layer.experts.down_proj):
            random = torch.randn(weight.shape, generator=generator).to(weight)
            weight += noise * weight.std(dim=(1, 2), keepdim=True) * random
    if layer.shared is not None:
        held = [number % slices for number in range(shared)]
        layer.shared.gate_proj.weight.copy_(torch.cat([gates[part] for part in held]))
        layer.shared.up_proj.weight.copy_(torch.cat([ups[part] for part in held]))
        layer.shared.down_proj.weight.copy_(
            torch.cat([downs[part] for part in held], dim=1) * shared_scale
        )


@torch.no_grad()
def _share_rows(weight: Tensor, group: int) -> None:
    """weight (E, d): every block of `group` rows becomes its first row."""
    weight.copy_(weight[::group].repeat_interleave(group, dim=0))


def _check(dense: ModelConfig, config: ModelConfig) -> None:
    got = f"{dense.n_routed_experts} routed experts"
    require(dense.n_routed_experts == 0, "dense_model", got, "a dense model (n_routed_experts 0)")
    require(config.n_routed_experts > 0, "config", "n_routed_experts 0", "a mixture of experts")
    for name in (field.name for field in dataclasses.fields(ModelConfig)):
        if name not in _FREE:
            wants = f"{getattr(dense, name)!r}, as in the dense model: it is copied"
            require(
                getattr(config, name) == getattr(dense, name), name, getattr(config, name), wants
            )
    first, layers = config.first_k_dense_replace, config.num_hidden_layers
    width, expert = dense.intermediate_size, config.moe_intermediate_size
    slices, shared = width // expert, config.n_shared_experts
    for fits, name, wants in (
        (not config.mlp_bias, "mlp_bias", "False: routed experts have no biases to copy to"),
        (
            first < layers,
            "first_k_dense_replace",
            f"less than num_hidden_layers ({layers}): one layer of experts at least",
        ),
        (
            first == 0 or config.intermediate_size == width,
            "intermediate_size",
            f"{width}, the width of the dense model",
        ),
        (
            width % expert == 0,
            "moe_intermediate_size",
            f"a divisor of {width}, the width of the dense model",
        ),
        (
            slices == 1 or shared < slices,
            "n_shared_experts",
            f"less than {slices}, the slices there are: else none is left for the routed experts",
        ),
        (
            slices == 1 or config.n_routed_experts >= slices - shared,
            "n_routed_experts",
            f"{slices - shared} or more, one for each slice",
        ),
        (config.routed_scaling_factor > 0, "routed_scaling_factor", "more than 0"),
    ):
        require(fits, name, getattr(config, name), wants)
    _check_sum(config)


def _check_sum(config: ModelConfig) -> None:
    """A token's weights need a constant sum: with another per token no scale keeps the function."""
    for router in config.routers.values():
        if "norm_topk_prob" in router.options:
            wants = "True: raw weights have another sum for every token"
            require(config.norm_topk_prob, "norm_topk_prob", False, wants)
        else:
            wants = "one whose weights have the same sum for every token, or that takes "
            wants += "norm_topk_prob"
            require(router.sums_to_one, "router", router.name, wants)
