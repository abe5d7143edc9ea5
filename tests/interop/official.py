"""Tiny random models of transformers' DeepSeek-V2, one per legal kind of configuration."""

import torch
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

BASE = dict(
    vocab_size=48,
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=3,
    num_key_value_heads=3,
    kv_lora_rank=12,
    q_lora_rank=10,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=6,
    n_routed_experts=8,
    num_experts_per_tok=3,
    n_shared_experts=2,
    moe_intermediate_size=12,
    first_k_dense_replace=1,
    topk_method="greedy",
    n_group=1,
    topk_group=1,
    routed_scaling_factor=1.0,
    max_position_embeddings=64,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)
GROUPS = dict(topk_method="group_limited_greedy", n_group=4, topk_group=2)
YARN = dict(
    rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=8, beta_slow=1
)
CONFIGS = {
    "base": dict(),
    "no query rank": dict(q_lora_rank=None),
    "groups": dict(GROUPS, routed_scaling_factor=16.0),
    "groups, all of them": dict(GROUPS, topk_group=4),
    "two groups": dict(GROUPS, n_group=2, topk_group=1),
    "groups with fewer than k experts": dict(GROUPS, topk_group=1, num_experts_per_tok=4),
    "one group": dict(GROUPS, n_group=1, topk_group=1),
    "groups that greedy ignores": dict(n_group=4, topk_group=2),
    "yarn, even": dict(rope_scaling={**YARN, "mscale": 0.707, "mscale_all_dim": 0.707}),
    "yarn, uneven": dict(rope_scaling={**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}),
    "yarn, one mscale": dict(rope_scaling={**YARN, "mscale_all_dim": 1.0}),
    "yarn, no mscale": dict(rope_scaling=YARN),
    "yarn, own factor": dict(rope_scaling={**YARN, "attention_factor": 1.4, "mscale_all_dim": 0.7}),
    "yarn, not rounded": dict(rope_scaling={**YARN, "truncate": False}, rope_theta=20.0),
    "yarn, length left out": dict(
        rope_scaling=dict(type="yarn", factor=2.0, mscale=0.7, mscale_all_dim=0.9)
    ),
    "theta": dict(rope_theta=500.0),
    "eps": dict(rms_norm_eps=1e-2),
    "tied": dict(tie_word_embeddings=True),
    "attention biases": dict(attention_bias=True),
    "attention biases, no query rank": dict(attention_bias=True, q_lora_rank=None),
    "mlp biases": dict(mlp_bias=True),
    "no shared experts": dict(n_shared_experts=0),
    "mlp biases, no shared experts": dict(n_shared_experts=0, mlp_bias=True),
    "every layer has experts": dict(first_k_dense_replace=0),
    "no layer has experts": dict(first_k_dense_replace=3, num_experts_per_tok=None),
    "one expert per token": dict(num_experts_per_tok=1),
    "all experts": dict(num_experts_per_tok=8),
    "wide values": dict(v_head_dim=20),
    "everything": dict(
        GROUPS,
        routed_scaling_factor=2.5,
        rms_norm_eps=1e-3,
        tie_word_embeddings=True,
        attention_bias=True,
        mlp_bias=True,
        first_k_dense_replace=0,
        rope_theta=2000.0,
        rope_scaling={**YARN, "mscale": 0.9, "mscale_all_dim": 0.6},
    ),
}


def make_official(name="base", **changes) -> DeepseekV2ForCausalLM:
    """The model of CONFIGS[name], every parameter random: zero biases or norms of one would hide
    mistakes."""
    fields = {**BASE, **CONFIGS[name], **changes}
    fields = {
        key: dict(value) if isinstance(value, dict) else value for key, value in fields.items()
    }
    model = DeepseekV2ForCausalLM(DeepseekV2Config(**fields)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if key.endswith("norm.weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif key.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif key.endswith(("embed_tokens.weight", "lm_head.weight")):
                parameter.copy_(noise)
            else:
                parameter.copy_(
                    noise * 1.5 / parameter.shape[-1] ** 0.5 if parameter.shape[-1] else noise
                )
    return model


def ids(batch=2, length=40, vocabulary=48):
    return torch.randint(0, vocabulary, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def relative_error(one, other, x=None) -> torch.Tensor:
    """Largest difference of the logits at each position, (sequence,), in units of the largest
    logit."""
    x = ids() if x is None else x
    theirs = other(x).logits
    return ((one(x).logits - theirs).abs().amax((0, 2)) / theirs.abs().max()).float()
