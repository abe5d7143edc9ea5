"""A folder of transformers whose configuration or index is damaged is refused by file and field."""

import json

import pytest

from moe_lib import LanguageModel, ModelConfig
from moe_lib.interop import from_transformers, save_transformers


def saved(folder, **options):
    latent = dict(kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8)
    save_transformers(
        LanguageModel(ModelConfig.preset("tiny", attention="mla", **latent)), folder, **options
    )


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


CONFIGS = [
    ("num_hidden_layers", [10**9, 0, -1, "2", None]),
    ("hidden_size", ["a", -1, 10**12]),
    ("n_routed_experts", [10**12, "8"]),
    ("num_experts_per_tok", [99, 0]),
    ("first_k_dense_replace", [-1, 99]),
    ("rope_scaling", [3, {"type": "linear", "factor": 2.0}]),
    ("rope_parameters", [3, {"rope_type": "default", "rope_theta": -1}]),
    ("rms_norm_eps", ["nan", -1]),
    ("hidden_act", ["gelu", 3]),
    ("vocab_size", [None, "all", 0]),
    ("model_type", [3, None, "llama"]),
    ("quantization_config", [{"a": 1}]),
    ("topk_method", ["x"]),
]


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in CONFIGS for value in values]
)
def test_a_configuration_that_cannot_be(tmp_path, field, value):
    saved(tmp_path)
    change(tmp_path / "config.json", **{field: value})
    with pytest.raises((ValueError, OSError), match=f"{tmp_path}"):
        from_transformers(tmp_path)


@pytest.mark.parametrize(
    "weight_map",
    [
        *(None, 3, [], {}, {"a": 3}, {"a": "../x"}, {"a": ""}, {"a": "none.safetensors"}),
        {"a": "config.json"},
    ],
)
def test_an_index_that_cannot_be(tmp_path, weight_map):
    saved(tmp_path, max_shard_bytes=20_000)
    change(tmp_path / "model.safetensors.index.json", weight_map=weight_map)
    with pytest.raises((ValueError, OSError), match=f"{tmp_path}"):
        from_transformers(tmp_path)
