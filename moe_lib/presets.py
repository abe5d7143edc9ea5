"""Sizes of the notebooks and of the shipped checkpoints, for `ModelConfig.preset`."""

_MINI = dict(
    vocab_size=4096,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=384,
    n_routed_experts=16,
    n_shared_experts=1,
    moe_intermediate_size=128,
    first_k_dense_replace=1,
)
PRESETS: dict[str, dict] = {
    "mini": _MINI,
    "tiny": dict(
        vocab_size=4096,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=192,
        n_routed_experts=8,
        n_shared_experts=1,
        moe_intermediate_size=64,
        max_position_embeddings=256,
    ),
    # DeepSeek-V2 in small, queries not compressed (as in V2-Lite), balanced by V3's bias
    "mini-v2": _MINI
    | dict(
        vocab_size=6144,
        attention="mla",
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=16,
        v_head_dim=32,
        router="biased_topk",
        scoring_func="sigmoid",
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        bias_update_speed=0.005,  # V3's 0.001 is for runs of many thousand steps
    ),
}
