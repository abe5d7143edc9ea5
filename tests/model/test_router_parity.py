"""Our routers against those of transformers, and our balance loss against its pooled one."""

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV3Config,
    GptOssConfig,
    MixtralConfig,
    OlmoeConfig,
)
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter, load_balancing_loss_func
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter

from moe_lib.model import expert_balance_loss, make_router

D, E, K = 16, 12, 3
HEADS = dict(hidden_size=D, num_attention_heads=4)
DEEPSEEK = dict(**HEADS, n_routed_experts=E, num_experts_per_tok=K, routed_scaling_factor=2.5)
GROUPS = dict(n_group=4, topk_group=2)

CASES = {
    "DeepSeek-V2, groups": (
        DeepseekV2TopkRouter,
        DeepseekV2Config(topk_method="group_limited_greedy", **DEEPSEEK, **GROUPS),
        "group_limited",
        dict(routed_scaling_factor=2.5, **GROUPS),
    ),
    "DeepSeek-V2, greedy": (
        DeepseekV2TopkRouter,
        DeepseekV2Config(topk_method="greedy", **DEEPSEEK),
        "topk",
        dict(routed_scaling_factor=2.5),
    ),
    "DeepSeek-V3": (
        DeepseekV3TopkRouter,
        DeepseekV3Config(**DEEPSEEK, **GROUPS),
        "biased_topk",
        dict(routed_scaling_factor=2.5, **GROUPS),
    ),
    "Mixtral": (
        MixtralTopKRouter,
        MixtralConfig(**HEADS, num_local_experts=E, num_experts_per_tok=K),
        "topk",
        dict(norm_topk_prob=True),
    ),
    "OLMoE": (
        OlmoeTopKRouter,
        OlmoeConfig(**HEADS, num_experts=E, num_experts_per_tok=K),
        "topk",
        {},
    ),
    "gpt-oss": (
        GptOssTopKRouter,
        GptOssConfig(**HEADS, num_local_experts=E, num_experts_per_tok=K),
        "topk_softmax",
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_router_of_transformers(name):
    theirs_class, config, ours_name, options = CASES[name]
    torch.manual_seed(0)
    theirs, ours = theirs_class(config), make_router(ours_name, D, E, K, **options)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        ours.weight.copy_(theirs.weight)
        if hasattr(theirs, "bias"):
            ours.bias.copy_(theirs.bias)
        if hasattr(theirs, "e_score_correction_bias"):
            theirs.e_score_correction_bias.copy_(
                torch.linspace(-1.5, 0.2, E)
            )  # mostly negative sums
            ours.selection_bias.copy_(theirs.e_score_correction_bias)
    x = torch.randn(200, D)
    _, weights, experts = theirs(x)
    routing = ours(x)

    def full(w, e):  # (tokens, E): the two may list their experts in another order
        return torch.zeros(200, E).scatter(1, e, w.float())

    assert torch.allclose(full(routing.weights, routing.experts), full(weights, experts), atol=1e-6)
    assert (full(weights, experts) > 0).sum() == 200 * K


def collapsed(expert, tokens=64, n_experts=4):
    """Logits of a layer that sends every token to one expert."""
    logits = torch.full((tokens, n_experts), -20.0)
    logits[:, expert] = 20.0
    return logits


def test_transformers_pools_the_layers_and_ours_does_not():
    """Four layers collapsed onto four experts score as four even ones when they are
    pooled."""
    router = make_router("topk", D, 4, 1)
    layers = [collapsed(expert) for expert in range(4)]
    pooled = load_balancing_loss_func(tuple(layers), num_experts=4, top_k=1)
    ours = [expert_balance_loss(router.route(logits)).item() for logits in layers]
    assert pooled.item() == pytest.approx(1.0, abs=1e-4), "as if all were well"
    assert ours == pytest.approx([4.0] * 4), "each layer tells"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_transformers_value_is_k_times_ours_on_one_layer(k):
    """The same alpha means k times as much there."""
    torch.manual_seed(0)
    logits = torch.randn(64, 6)
    ours = expert_balance_loss(make_router("topk", D, 6, k).route(logits)).item()
    assert load_balancing_loss_func((logits,), num_experts=6, top_k=k).item() == pytest.approx(
        k * ours, rel=1e-5
    )
