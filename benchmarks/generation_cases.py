"""What `benchmarks.generation` lets write: models of ours, and transformers' with the same
weights."""

import copy

import torch
from torch import Tensor, nn
from transformers import (
    DeepseekV2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from moe_lib import LanguageModel, ModelConfig
from moe_lib.interop import from_transformers
from moe_lib.interop.configs import config_to_transformers

LATENT = dict(
    attention="mla", qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, kv_lora_rank=64
)
# weights of 0.02, the usual start, would make the residual stream so small that every text repeats
# one token
SIZES = dict(
    vocab_size=6144,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=384,
    max_position_embeddings=512,
    initializer_range=0.1,
)
WIDE = SIZES | dict(hidden_size=256, num_attention_heads=8)
CONFIGS = {
    "mini-v2": ModelConfig(
        **SIZES,
        **LATENT,
        n_routed_experts=32,
        num_experts_per_tok=4,
        n_shared_experts=1,
        moe_intermediate_size=64,
        first_k_dense_replace=1,
    ),
    "16 experts": ModelConfig(
        **SIZES, **LATENT, n_routed_experts=16, num_experts_per_tok=2, n_shared_experts=1
    ),
    "64 experts": ModelConfig(
        **WIDE,
        **LATENT | dict(kv_lora_rank=128),
        n_routed_experts=64,
        num_experts_per_tok=6,
        n_shared_experts=2,
        moe_intermediate_size=64,
        first_k_dense_replace=1,
    ),
    "dense, latent": ModelConfig(**SIZES, **LATENT),
    "dense, multi-head": ModelConfig(**SIZES),
    "dense, grouped-query": ModelConfig(**SIZES, num_key_value_heads=1),
    "8 experts, grouped-query": ModelConfig(
        **SIZES, num_key_value_heads=1, n_routed_experts=8, norm_topk_prob=True
    ),
}
SMALL = SIZES | dict(vocab_size=96, hidden_size=32, num_hidden_layers=2)
QUICK = {
    "mini-v2": ModelConfig(
        **SMALL, **LATENT, n_routed_experts=8, n_shared_experts=1, moe_intermediate_size=16
    ),
    "dense, multi-head": ModelConfig(**SMALL),
}
OURS, OFFICIAL = "ours", "transformers"
WAYS = (
    "eager",
    "grouped_mm",
    "batched_mm",
)  # transformers' ways to run experts; grouped_mm is its default


def make_models(config: ModelConfig) -> dict[str, nn.Module]:
    """Ours and transformers', once for each of its ways to run experts, all with the same random
    weights."""
    torch.manual_seed(0)
    if config.attention == "mla":
        official = DeepseekV2ForCausalLM(config_to_transformers(config))
        ours = from_transformers(official)
    else:
        ours = LanguageModel(config)
        official = llama_like(ours)
    peers = {OFFICIAL: official}
    if config.n_routed_experts:
        peers = {f"{OFFICIAL} {way}": copy.deepcopy(official) for way in WAYS}
        for way, peer in zip(WAYS, peers.values(), strict=True):
            peer.set_experts_implementation(way)
    for peer in peers.values():  # no row ends early, and nothing is spent on looking for an end
        peer.generation_config.eos_token_id = None
    return {name: model.eval() for name, model in ({OURS: ours} | peers).items()}


def llama_like(ours: LanguageModel) -> nn.Module:
    """transformers' Llama (dense) or Mixtral (every layer with experts) with the weights of
    `ours`."""
    config = ours.config
    same = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
    )
    fields = {name: getattr(config, name) for name in same}
    fields |= dict(rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta})
    if config.n_routed_experts:
        experts = dict(
            num_local_experts=config.n_routed_experts,
            num_experts_per_tok=config.num_experts_per_tok,
            intermediate_size=config.moe_intermediate_size,
        )
        official = MixtralForCausalLM(MixtralConfig(**fields, **experts))
    else:
        official = LlamaForCausalLM(
            LlamaConfig(**fields, intermediate_size=config.intermediate_size)
        )
    official.load_state_dict(dict(llama_weights(ours)))
    return official


def llama_weights(ours: LanguageModel) -> list[tuple[str, Tensor]]:
    """The state dict of `ours` with Llama's and Mixtral's names and order of rows."""
    renamed = {
        "embedding.": "model.embed_tokens.",
        "head.": "lm_head.",
        "layers.": "model.layers.",
        "norm.weight": "model.norm.weight",
    }
    inner = {
        ".attention_norm.": ".input_layernorm.",
        ".feed_forward_norm.": ".post_attention_layernorm.",
        ".attention.": ".self_attn.",
        ".feed_forward.router.": ".mlp.gate.",
        ".feed_forward.": ".mlp.",
    }
    weights = []
    for name, weight in ours.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weight = halves(weight, ours.config.head_dim)
        start = next(start for start in renamed if name.startswith(start))
        name = renamed[start] + name.removeprefix(start)
        for old, new in inner.items():
            name = name.replace(old, new)
        weights.append((name, weight))
    return weights


def halves(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of each head in Llama's order: it turns row i with row i + head_dim / 2, we turn 2i with
    2i + 1."""
    heads = weight.unflatten(0, (-1, head_dim // 2, 2))
    return heads.transpose(1, 2).reshape(weight.shape)
