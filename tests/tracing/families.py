"""Every Mixture-of-Experts family of transformers, tiny and with random weights, for the tests of
the traces."""

import dataclasses
from importlib import import_module

import torch

IDS = torch.randint(3, 64, (2, 7), generator=torch.Generator().manual_seed(1))
# Sizes under all the names that configurations use. k is 3 of 8 experts, so that an order can be
# wrong.
SIZES = dict(
    vocab_size=64,
    hidden_size=32,
    d_model=32,
    intermediate_size=48,
    num_hidden_layers=2,
    n_layers=2,
    num_layers=2,
    num_attention_heads=4,
    n_heads=4,
    num_heads=4,
    num_key_value_heads=4,
    head_dim=8,
    max_position_embeddings=64,
    max_seq_len=64,
    moe_intermediate_size=16,
    expert_ffn_hidden_size=16,
    ffn_hidden_size=24,
    num_experts=8,
    n_routed_experts=8,
    num_local_experts=8,
    moe_num_experts=8,
    num_experts_per_tok=3,
    moe_topk=3,
    moe_top_k=3,
    moe_k=3,
    top_k_experts=3,
    n_shared_experts=1,
    num_shared_experts=1,
    moe_num_shared_experts=1,
    first_k_dense_replace=1,
    n_group=2,
    topk_group=1,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_rope_head_dim=8,
    qk_nope_head_dim=8,
    v_head_dim=8,
    qk_head_dim=16,
    shared_expert_intermediate_size=16,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    initializer_range=0.3,
)
DENSE_THEN_SPARSE = dict(mlp_layer_types=["dense", "sparse"])
MIXED = dict(layer_types=["linear_attention", "full_attention"])
LINEAR = dict(
    linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4
)
ONE_ROPE = dict(rope_type="default", rope_theta=10000.0)

# family -> (class, what its configuration needs besides the sizes)
FAMILIES: dict[str, tuple[str, dict]] = {
    "afmoe": ("AfmoeForCausalLM", {"num_dense_layers": 1}),
    "aria": ("AriaTextForCausalLM", {}),
    "axk1": ("AXK1ForCausalLM", {}),
    "axk2": ("AXK2ForCausalLM", {}),
    "bailing_hybrid": ("BailingHybridForCausalLM", {**MIXED}),
    "beam": ("BeamForCausalLM", dict(routed_scaling_factor=2.5, **DENSE_THEN_SPARSE)),
    "cohere2_moe": ("Cohere2MoeForCausalLM", {}),
    "dbrx": (
        "DbrxForCausalLM",
        dict(
            attn_config=dict(kv_n_heads=4, rope_theta=10000.0, clip_qkv=8.0),
            ffn_config=dict(ffn_hidden_size=24, moe_num_experts=8, moe_top_k=3),
            rope_parameters=ONE_ROPE,
        ),
    ),
    "deepseek_ocr2": ("DeepseekOcr2TextModel", {**DENSE_THEN_SPARSE}),
    "deepseek_v2": (
        "DeepseekV2ForCausalLM",
        dict(topk_method="group_limited_greedy", n_group=4, topk_group=2),
    ),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {}),
    "deepseek_v32": ("DeepseekV32ForCausalLM", {}),
    "deepseek_v4": ("DeepseekV4ForCausalLM", {}),
    "diffusion_gemma": ("DiffusionGemmaEncoderTextModel", {}),
    "doge": ("DogeForCausalLM", dict(is_moe=True, num_experts=16)),
    "dots1": ("Dots1ForCausalLM", {}),
    "dots3_note": ("Dots3NoteForCausalLM", {}),
    "ernie4_5_moe": ("Ernie4_5_MoeForCausalLM", {}),
    "ernie4_5_vl_moe": (
        "Ernie4_5_VLMoeTextModel",
        dict(
            moe_intermediate_size=[16, 16],
            rope_parameters=dict(**ONE_ROPE, mrope_section=[1, 1, 2]),
            **DENSE_THEN_SPARSE,
        ),
    ),
    "exaone_moe": ("ExaoneMoeForCausalLM", {}),
    "flex_olmo": ("FlexOlmoForCausalLM", {}),
    "flint": ("FlintForCausalLM", dict(mlp_only_layers=[0])),
    "gemma4": ("Gemma4ForCausalLM", dict(enable_moe_block=True, vocab_size_per_layer_input=64)),
    "glm4_moe": ("Glm4MoeForCausalLM", {}),
    "glm4_moe_lite": ("Glm4MoeLiteForCausalLM", {}),
    "glm4v_moe": (
        "Glm4vMoeTextModel",
        dict(rope_parameters=dict(**ONE_ROPE, mrope_section=[1, 1, 0])),
    ),
    "glm5_next": (
        "Glm5NextTextModel",
        dict(
            qk_rope_head_dim=0,
            index_n_heads=2,
            index_head_dim=8,
            linear_head_dim=8,
            linear_num_heads=2,
            layer_types=["linear_attention", "indexed_attention"],
            **DENSE_THEN_SPARSE,
        ),
    ),
    "glm_moe_dsa": ("GlmMoeDsaForCausalLM", {}),
    "gpt_oss": ("GptOssForCausalLM", {}),
    "granitemoe": ("GraniteMoeForCausalLM", {}),
    "granitemoe_swa": ("GraniteMoeSWAForCausalLM", {}),
    "granitemoehybrid": (
        "GraniteMoeHybridForCausalLM",
        dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, layer_types=["mamba", "attention"]),
    ),
    "granitemoeshared": ("GraniteMoeSharedForCausalLM", {}),
    "hunyuan_v1_moe": ("HunYuanMoEV1ForCausalLM", {}),
    "hy_v3": ("HYV3ForCausalLM", {}),
    "hy_v4": ("HYV4ForCausalLM", {}),
    "inkling": ("InklingForCausalLM", {}),
    "inkling2": ("Inkling2ForCausalLM", {}),
    "jamba": ("JambaForCausalLM", dict(attn_layer_period=2, attn_layer_offset=1)),
    "jetmoe": ("JetMoeForCausalLM", {}),
    "kimi_linear": ("KimiLinearForCausalLM", dict(linear_head_dim=8, linear_num_heads=2, **MIXED)),
    "kolibri1": ("Kolibri1ForCausalLM", {}),
    "laguna": ("LagunaForCausalLM", dict(moe_routed_scaling_factor=2.5)),
    "lfm2_moe": (
        "Lfm2MoeForCausalLM",
        dict(num_dense_layers=1, layer_types=["conv", "full_attention"]),
    ),
    "llama4": ("Llama4ForCausalLM", {}),
    "longcat_flash": ("LongcatFlashForCausalLM", dict(zero_expert_num=4)),
    "mellum": ("MellumForCausalLM", {}),
    "mimo_v2_flash": ("MiMoV2FlashForCausalLM", dict(head_dim=24, num_key_value_heads=2)),
    "minimax": ("MiniMaxForCausalLM", {}),
    "minimax_m2": ("MiniMaxM2ForCausalLM", {}),
    "minimax_m3_vl": ("MiniMaxM3VLForCausalLM", dict(routed_scaling_factor=2.5)),
    "mistral4": ("Mistral4ForCausalLM", {}),
    "mistral_large4": ("MistralLarge4TextModel", {}),
    "mixtral": ("MixtralForCausalLM", {}),
    "muse_spark": ("MuseSparkTextModel", {}),
    "nemotron_h": ("NemotronHForCausalLM", dict(layers_block_type=["full_attention", "moe"])),
    "nllb_moe": (
        "NllbMoeForConditionalGeneration",
        dict(
            encoder_layers=2,
            decoder_layers=2,
            encoder_sparse_step=2,
            decoder_sparse_step=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
        ),
    ),
    "olmoe": ("OlmoeForCausalLM", {}),
    "openai_privacy_filter": ("OpenAIPrivacyFilterModel", {}),
    "phimoe": ("PhimoeForCausalLM", {}),
    "qwen2_moe": ("Qwen2MoeForCausalLM", {}),
    "qwen3_5_moe": ("Qwen3_5MoeForCausalLM", {**MIXED, **LINEAR}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {}),
    "qwen3_next": ("Qwen3NextForCausalLM", {**MIXED, **LINEAR}),
    "qwen3_omni_moe": ("Qwen3OmniMoeThinkerTextModel", {}),
    "qwen3_vl_moe": ("Qwen3VLMoeTextModel", {}),
    "qwen4_exp": (
        "Qwen4ExpForCausalLM",
        dict(
            indexer_n_heads=4,
            indexer_kv_heads=1,
            indexer_head_dim=8,
            indexer_budget=8,
            indexer_compress_ratio=4,
            hc_lowrank=8,
            **MIXED,
            **LINEAR,
        ),
    ),
    "solar_open": ("SolarOpenForCausalLM", {}),
    "step3p7": (
        "Step3p7TextModel",
        dict(
            sliding_window=16,
            share_expert_dim=16,
            moe_router_scaling_factor=2.5,
            **DENSE_THEN_SPARSE,
        ),
    ),
    "switch_transformers": (
        "SwitchTransformersForConditionalGeneration",
        dict(
            num_decoder_layers=2,
            num_sparse_encoder_layers=1,
            num_sparse_decoder_layers=1,
            d_kv=8,
            d_ff=24,
            expert_capacity=2,
        ),
    ),
    "unlimited_ocr": ("UnlimitedOcrTextModel", {**DENSE_THEN_SPARSE}),
    "zaya": ("ZayaForCausalLM", dict(num_experts_per_tok=1)),
}


def model_class(family: str):
    module = import_module(f"transformers.models.{family}.modeling_{family}")
    return getattr(module, FAMILIES[family][0])


def build(family: str, seed: int = 0, **changes) -> torch.nn.Module:
    """A tiny model of `family` in eval mode, with random weights, routing biases and hash
    tables."""
    chosen = model_class(family)
    known = {field.name for field in dataclasses.fields(chosen.config_class)} | set(
        chosen.config_class.attribute_map
    )
    sizes = {name: size for name, size in SIZES.items() if name in known}
    torch.manual_seed(seed)
    model = chosen(chosen.config_class(**{**sizes, **FAMILIES[family][1], **changes})).eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            leaf = name.rpartition(".")[2]
            if leaf in (
                "e_score_correction_bias",
                "expert_bias",
                "balancing_biases",
                "gate_up_proj_bias",
                "down_proj_bias",
            ):
                tensor.normal_(std=0.3)
            elif leaf == "per_expert_scale":
                tensor.uniform_(0.5, 1.5)
            elif leaf == "tid2eid":  # DeepSeek-V4's hash table
                tensor.copy_(
                    torch.rand(len(tensor), SIZES["num_experts"]).argsort(-1)[:, : tensor.shape[1]]
                )
    return model
