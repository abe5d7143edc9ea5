"""count_parameters with biases: against the parameters of real modules, part by part."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.counting import count_parameters

SMALL = dict(
    vocab_size=40, hidden_size=20, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24
)
EXPERTS = dict(n_routed_experts=6, moe_intermediate_size=8, first_k_dense_replace=1)
LATENT = dict(
    attention="mla", kv_lora_rank=10, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5
)


def parameters_in(model: LanguageModel, *parts: str) -> int:
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if any(part in name for part in parts) and "norm" not in name
    )


@pytest.mark.parametrize(
    "changes",
    [
        LATENT | dict(attention_bias=True),
        LATENT | dict(attention_bias=True, q_lora_rank=7),
        dict(mlp_bias=True),
        EXPERTS | dict(mlp_bias=True),
        EXPERTS | dict(mlp_bias=True, n_shared_experts=2),
        LATENT
        | EXPERTS
        | dict(mlp_bias=True, attention_bias=True, q_lora_rank=7, n_shared_experts=1),
    ],
)
def test_biases_are_counted_where_they_stand(changes):
    config = ModelConfig(**SMALL, **changes)
    with torch.device("meta"):
        model = LanguageModel(config)
    count = count_parameters(config)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    assert count.attention == parameters_in(model, ".attention.")
    assert count.shared_experts == parameters_in(model, ".shared.")
    assert count.dense_ffn == parameters_in(
        model, "feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj"
    )
    plain = count_parameters(config.replace(mlp_bias=False, attention_bias=False))
    assert count.total > plain.total and count.active - plain.active == count.total - plain.total
