"""Wrong input of the interop room, and of opening a model."""

import tempfile
from functools import cache

import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.interop import save_transformers
from tests.wrong_input.table import COUNT, MODEL, PATH, TOKENIZER, Entry


@cache
def model() -> LanguageModel:
    torch.manual_seed(0)
    fields = dict(causal=True, attention="mla", kv_lora_rank=8, qk_rope_head_dim=4)
    fields |= dict(qk_nope_head_dim=4, v_head_dim=8, num_attention_heads=2, hidden_size=16)
    return LanguageModel(ModelConfig.preset("tiny", **fields))


def folder() -> str:
    return tempfile.mkdtemp()


ENTRIES = [
    Entry(
        "moe_lib.interop.save_transformers",
        lambda: dict(model=model(), folder=folder()),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2)],
            "folder": [*PATH, "", "a\0b", __file__],
            "tokenizer": [value for value in TOKENIZER if value is not None],
            "max_shard_bytes": COUNT,
        },
    ),
    Entry(
        "moe_lib.interop.from_transformers",
        lambda: dict(model_or_folder=save_transformers(model(), folder())),
        {
            "model_or_folder": [*PATH, "", {}, torch.nn.Linear(2, 2)],
            "dtype": ["bfloat16", 16, torch.int8, torch.bool, torch.float8_e4m3fn, float],
        },
    ),
    Entry(
        "moe_lib.opening.open_model",
        lambda: dict(name_or_folder="mini-v2"),
        {"name_or_folder": [*PATH, ""], "trust_remote_code": [1, 0, "yes", None]},
    ),
]
