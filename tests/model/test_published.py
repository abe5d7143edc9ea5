"""Published sizes against what the authors state and against transformers' own models, built
without memory."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV3Config,
    MixtralConfig,
    OlmoeConfig,
)

from moe_lib import LanguageModel, ModelConfig
from moe_lib.counting import (
    BYTES_PER_NUMBER,
    count_parameters,
    expected_distinct_experts,
    flops_per_token,
    kv_cache_elements_per_token,
    parameters_read,
)
from moe_lib.published import ModelSizes, published, published_names, sizes_of

DEEPSEEK = dict(
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_group=8,
    topk_group=3,
)
# Every size by hand, for the classes' defaults are not those of the released models.
OFFICIAL = {
    "DeepSeek-V2": DeepseekV2Config(
        vocab_size=102400,
        hidden_size=5120,
        intermediate_size=12288,
        moe_intermediate_size=1536,
        num_hidden_layers=60,
        num_attention_heads=128,
        num_key_value_heads=128,
        n_routed_experts=160,
        n_shared_experts=2,
        num_experts_per_tok=6,
        first_k_dense_replace=1,
        q_lora_rank=1536,
        **DEEPSEEK,
    ),
    "DeepSeek-V2-Lite": DeepseekV2Config(
        vocab_size=102400,
        hidden_size=2048,
        intermediate_size=10944,
        moe_intermediate_size=1408,
        num_hidden_layers=27,
        num_attention_heads=16,
        num_key_value_heads=16,
        n_routed_experts=64,
        n_shared_experts=2,
        num_experts_per_tok=6,
        first_k_dense_replace=1,
        q_lora_rank=None,
        **DEEPSEEK,
    ),
    "DeepSeek-V3": DeepseekV3Config(
        vocab_size=129280,
        hidden_size=7168,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        num_hidden_layers=61,
        num_attention_heads=128,
        num_key_value_heads=128,
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=3,
        q_lora_rank=1536,
        **DEEPSEEK,
    ),
    "Mixtral 8x7B": MixtralConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_local_experts=8,
        num_experts_per_tok=2,
    ),
    "OLMoE-1B-7B": OlmoeConfig(
        vocab_size=50304,
        hidden_size=2048,
        intermediate_size=1024,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=16,
        num_experts=64,
        num_experts_per_tok=8,
    ),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_parameter_of_transformers_is_counted(name):
    with torch.device("meta"):
        official = AutoModelForCausalLM.from_config(OFFICIAL[name])
    count = count_parameters(published(name).sizes)
    assert count.total == sum(parameter.numel() for parameter in official.parameters())
    experts = sum(p.numel() for part, p in official.named_parameters() if ".experts." in part)
    router = sum(
        p.numel() for part, p in official.named_parameters() if part.endswith("mlp.gate.weight")
    )
    attention = sum(
        p.numel()
        for part, p in official.named_parameters()
        if "proj" in part and "self_attn" in part
    )
    assert (count.routed_experts, count.router, count.attention) == (experts, router, attention)


def test_deepseek_moe_16b_fits_our_own_model():
    """transformers does not ship this family; our model can be built with its sizes."""
    sizes = published("DeepSeekMoE 16B").sizes
    names = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "moe_intermediate_size",
        "n_routed_experts",
        "num_experts_per_tok",
        "n_shared_experts",
        "first_k_dense_replace",
        "tie_word_embeddings",
    )
    config = ModelConfig(**{name: getattr(sizes, name) for name in names})
    with torch.device("meta"):
        ours = LanguageModel(config)
    assert count_parameters(sizes).total == sum(
        parameter.numel() for parameter in ours.parameters()
    )


def test_totals_and_active_counts_are_those_the_authors_state():
    assert len(published_names()) == 6 and len(published_names(dense=True)) == 7
    for model in map(published, published_names(dense=True)):
        count = count_parameters(model.sizes)
        assert _reads_as(count.total, model.total), (model.name, count.total)
        fits = {
            True: _reads_as(count.active_with_embedding, model.active),
            False: _reads_as(count.active, model.active),
        }
        if model.active_with_embedding is None:
            assert all(fits.values()), model.name
        else:
            assert fits == {
                model.active_with_embedding: True,
                not model.active_with_embedding: False,
            }, model.name


def _reads_as(number: int, stated: str) -> bool:
    """Whether `number` is `stated` ("2.4B") rounded or cut to its digits."""
    digits = len(stated.rstrip("B").partition(".")[2])
    billions = float(stated.rstrip("B"))
    return billions - 0.5 * 10**-digits <= number / 1e9 < billions + 1.0 * 10**-digits


def test_only_grouped_query_attention_makes_67_billion():
    """Sources disagree on the key-value heads of DeepSeek 67B: with 64 of them it would have 79
    billion parameters."""
    sizes = published("DeepSeek 67B").sizes
    assert "DeepSeek 67B" not in published_names() and sizes.num_moe_layers == 0
    layer = 2 * 8192 * 8192 + 2 * 8192 * 8 * 128 + 3 * 8192 * 22_016
    assert count_parameters(sizes).total == 95 * layer + 2 * 102_400 * 8192 + (2 * 95 + 1) * 8192
    assert count_parameters(sizes.replace(num_key_value_heads=64)).total > 78e9
    assert kv_cache_elements_per_token(sizes) == 2 * 95 * 8 * 128


def test_shares_and_caches_by_hand():
    """FACTS B1, B2: DeepSeek-V2's cache is 60 · (512 + 64) numbers; Mixtral's 2 · 32 layers · 8
    heads · 128."""
    assert kv_cache_elements_per_token(published("DeepSeek-V2").sizes) == 34_560
    assert kv_cache_elements_per_token(published("Mixtral 8x7B").sizes) == 2 * 32 * 8 * 128
    count = count_parameters(published("DeepSeek-V2").sizes)
    assert (count.routed_experts + count.shared_experts) / count.total == pytest.approx(
        0.957, abs=0.001
    )


def test_training_flops_come_near_the_papers_table():
    """DeepSeekMoE, table 3: 74.4T per 4K tokens for the 16B model, 187.9T for LLaMA2 7B; a step is
    3 forward passes."""
    llama = ModelSizes(
        vocab_size=32_000,
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        intermediate_size=11_008,
    )
    assert round(count_parameters(llama).total / 1e9, 2) == 6.74
    for sizes, stated in ((published("DeepSeekMoE 16B").sizes, 74.4e12), (llama, 187.9e12)):
        assert 3 * 4096 * flops_per_token(sizes, 4096) == pytest.approx(stated, rel=0.025)


def test_latent_attention_flops_against_torch_counter():
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import DeepseekV2ForCausalLM

    small = dict(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=4,
        num_experts_per_tok=4,
        moe_intermediate_size=16,
        n_shared_experts=1,
        first_k_dense_replace=1,
        intermediate_size=24,
        kv_lora_rank=12,
        q_lora_rank=20,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=6,
    )
    official = DeepseekV2ForCausalLM(
        DeepseekV2Config(**small, attn_implementation="eager", experts_implementation="eager")
    ).eval()
    sizes = ModelSizes(**small)
    assert count_parameters(sizes).total == sum(
        parameter.numel() for parameter in official.parameters()
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        official(torch.zeros(1, 12, dtype=torch.int64))
    rotations = 12 * 2 * 2  # the counter also sees the product positions x frequencies
    assert counter.get_total_flops() == pytest.approx(
        12 * flops_per_token(sizes, 12) + rotations, rel=0.01
    )


@pytest.mark.parametrize(
    ("experts", "k", "tokens"), [(8, 2, 1), (8, 2, 6), (64, 6, 16), (16, 16, 3), (5, 1, 4)]
)
def test_distinct_experts_against_drawing_lots(experts, k, tokens):
    generator = torch.Generator().manual_seed(0)
    choices = torch.rand(4000, tokens, experts, generator=generator).topk(k).indices.flatten(1)
    seen = torch.zeros(4000, experts).scatter_(1, choices, 1.0).sum(1)
    error = 4 * seen.std().item() / 4000**0.5 + 1e-9
    assert expected_distinct_experts(experts, k, tokens) == pytest.approx(
        seen.mean().item(), abs=error
    )


def test_a_step_reads_all_but_the_embedding_at_most_and_the_active_part_at_least():
    for model in map(published, published_names()):
        count = count_parameters(model.sizes)
        assert parameters_read(model.sizes, 1) == pytest.approx(count.active)
        assert parameters_read(model.sizes, 10**6) == pytest.approx(count.total - count.embedding)
        assert parameters_read(model.sizes, 8) < 8 * count.active
    v2 = published("DeepSeek-V2").sizes
    expert = 3 * 5120 * 1536
    by_hand = count_parameters(v2).active + 59 * expert * (160 * (1 - (154 / 160) ** 64) - 6)
    assert parameters_read(v2, 64) == pytest.approx(by_hand)


def test_dense_twin_has_the_active_size():
    for model in map(published, published_names()):
        count = count_parameters(model.sizes)
        twin = count.dense_twin()
        assert (
            twin.total == twin.active_with_embedding == count.active_with_embedding - count.router
        )
        assert twin.active == count.active - count.router
    config = ModelConfig.preset("tiny")
    assert count_parameters(config).dense_twin() == count_parameters(config.dense())


def test_sizes_of_a_config_of_ours():
    config = ModelConfig.preset("mini", num_key_value_heads=2)
    sizes = sizes_of(config)
    assert (
        sizes.num_moe_layers == 3
        and sizes.num_dense_layers == 1
        and sizes.head_dim == 32
        and not sizes.latent
    )
    assert count_parameters(sizes) == count_parameters(config) and sizes_of(sizes) is sizes
    assert (
        parameters_read(config.replace(first_k_dense_replace=0).dense(), 5)
        == count_parameters(config.replace(first_k_dense_replace=0).dense()).active
    )


def test_wrong_sizes_are_named():
    sizes = published("Mixtral 8x7B").sizes
    for change, error in (
        (dict(num_experts_per_tok=9), ValueError),
        (dict(moe_intermediate_size=0), ValueError),
        (dict(hidden_size=2.0), TypeError),
        (dict(first_k_dense_replace=1), ValueError),
        (dict(kv_lora_rank=0), ValueError),
        (dict(n_shared_experts=-1), ValueError),
    ):
        name = {"first_k_dense_replace": "intermediate_size"}.get(
            *change, *change
        )  # a dense block needs a width
        with pytest.raises(error, match=f"^{name}: got"):
            sizes.replace(**change)
    with pytest.raises(ValueError, match="^first_k_dense_replace: got 33"):
        sizes.replace(first_k_dense_replace=33, intermediate_size=5)
    with pytest.raises(ValueError, match="GPT-3"):
        published("GPT-3")
    with pytest.raises(TypeError, match="config"):
        count_parameters({"hidden_size": 3})
    for arguments in ((0, 1, 1), (4, 5, 1), (4, 2, -1)):
        with pytest.raises(ValueError):
            expected_distinct_experts(*arguments)
    bits = {"fp32": 32, "bf16": 16, "fp8": 8, "6 bits": 6, "int4": 4, "4 bits": 4}
    assert {name: 8 * size for name, size in BYTES_PER_NUMBER.items()} == bits


LATENT = dict(kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6)


@pytest.mark.parametrize(
    "changes",
    [
        dict(router="hash"),
        dict(router="noisy_topk"),
        dict(router="topk_softmax"),
        dict(router="biased_topk"),
        dict(attention="mla", q_lora_rank=20, **LATENT),
        dict(attention="mla", q_lora_rank=None, **LATENT),
    ],
)
def test_every_parameter_of_our_own_model_is_counted(changes):
    config = ModelConfig.preset("tiny", vocab_size=40, **changes)
    model = LanguageModel(config)
    assert count_parameters(config).total == sum(
        parameter.numel() for parameter in model.parameters()
    )
    if config.attention == "mla":
        assert kv_cache_elements_per_token(config) == 2 * (12 + 4)
