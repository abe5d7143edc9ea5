"""Our routers against those of transformers, and our balance loss against its pooled one."""

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV3Config,
    DeepseekV4Config,
    GptOssConfig,
    MixtralConfig,
    OlmoeConfig,
)
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.deepseek_v4.modeling_deepseek_v4 import (
    DeepseekV4SparseMoeBlock,
    DeepseekV4TopKRouter,
)
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter, load_balancing_loss_func
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter

from moe_lib import LanguageModel, ModelConfig
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
    "DeepSeek-V4": (
        DeepseekV4TopKRouter,
        DeepseekV4Config(**DEEPSEEK),
        "biased_topk",
        dict(routed_scaling_factor=2.5, scoring_func="sqrtsoftplus"),
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


@pytest.mark.parametrize("kind", ["hash_moe", "moe"])
def test_an_moe_block_of_deepseek_v4_is_ours(kind):
    """Router, table, routed and shared experts, and the gradients of the gate; below the clamp that
    V4 puts on its experts' products, which ours do not have."""
    torch.manual_seed(0)
    sizes = dict(moe_intermediate_size=6, vocab_size=30, num_hidden_layers=2, swiglu_limit=1e9)
    theirs_config = DeepseekV4Config(**DEEPSEEK, **sizes, mlp_layer_types=[kind, kind])
    theirs = DeepseekV4SparseMoeBlock(theirs_config, layer_idx=1).float()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    config = ModelConfig(
        vocab_size=30,
        hidden_size=D,
        num_hidden_layers=2,
        n_routed_experts=E,
        num_experts_per_tok=K,
        n_shared_experts=1,
        moe_intermediate_size=6,
        mlp_layer_types=["moe", kind],
        router="biased_topk",
        scoring_func="sqrtsoftplus",
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
    )
    ours = LanguageModel(config).layers[1].feed_forward
    if kind == "hash_moe":
        theirs.gate.tid2eid.copy_(torch.rand(30, E).argsort(-1)[:, :K])
        buffers = {"router.table": theirs.gate.tid2eid}
    else:
        theirs.gate.e_score_correction_bias.copy_(torch.linspace(-1.5, 0.5, E))
        buffers = {"router.selection_bias": theirs.gate.e_score_correction_bias}
    names = ("gate_proj", "up_proj", "down_proj")
    shared = {f"shared.{n}.weight": getattr(theirs.shared_experts, n).weight for n in names}
    experts = {f"experts.{n}": getattr(theirs.experts, n) for n in ("gate_up_proj", "down_proj")}
    ours.load_state_dict({"router.weight": theirs.gate.weight, **buffers, **shared, **experts})
    x, ids = torch.randn(2, 40, D), torch.randint(30, (2, 40))
    wanted, (got, routing) = theirs(x, input_ids=ids), ours(x, ids)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    wanted.square().mean().backward()
    got.square().mean().backward()
    torch.testing.assert_close(
        ours.router.weight.grad, theirs.gate.weight.grad, atol=1e-4, rtol=1e-3
    )
    assert ours.router.weight.grad.abs().max() > 0 and routing.weights.shape == (80, K)


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
