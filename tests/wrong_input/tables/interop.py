"""Wrong input of the interop room, and of opening a model."""

import tempfile
from functools import cache

import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.interop import (
    UpcycledBalance,
    save_transformers,
    save_upcycled,
    upcycle_transformers,
)
from tests.wrong_input.table import COUNT, MODEL, NATURAL, NON_NEGATIVE, PATH, TOKENIZER, Entry


@cache
def model() -> LanguageModel:
    torch.manual_seed(0)
    fields = dict(causal=True, attention="mla", kv_lora_rank=8, qk_rope_head_dim=4)
    fields |= dict(qk_nope_head_dim=4, v_head_dim=8, num_attention_heads=2, hidden_size=16)
    return LanguageModel(ModelConfig.preset("tiny", **fields))


def small_bert():
    from transformers import BertConfig, BertModel

    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    return BertModel(BertConfig(vocab_size=10, **sizes))


def upcycled():
    return upcycle_transformers(small_bert(), 4, 2)


def one_that_has_read():
    model = upcycled()
    balance = UpcycledBalance(model).__enter__()
    model(input_ids=torch.ones(1, 3, dtype=torch.long))
    return balance


def folder() -> str:
    return tempfile.mkdtemp()


ENTRIES = [
    Entry(
        "moe_lib.interop.upcycle_transformers",
        lambda: dict(
            model=small_bert(),
            n_routed_experts=4,
            num_experts_per_tok=2,
            noise=0.1,
            slices=2,
            seed=0,
        ),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), model()],
            "n_routed_experts": [*COUNT, 3],
            "num_experts_per_tok": [*COUNT, 3, 8],
            "noise": NON_NEGATIVE,
            "slices": COUNT,
            "seed": NATURAL,
        },
    ),
    Entry(
        "moe_lib.interop.UpcycledBalance",
        lambda: dict(model=upcycled()),
        {"model": [*MODEL, torch.nn.Linear(2, 2), small_bert()]},
    ),
    Entry(
        "moe_lib.interop.UpcycledBalance.__call__",
        lambda: dict(self=one_that_has_read(), attention_mask=torch.ones(1, 3)),
        {"attention_mask": [3, "ones", [[1, 1, 1]], torch.ones(1, 4)]},
    ),
    Entry(
        "moe_lib.interop.save_upcycled",
        lambda: dict(model=upcycled(), folder=folder()),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), small_bert()],
            "folder": [*PATH, "", "a\0b", __file__],
            "tokenizer": [value for value in TOKENIZER if value is not None],
        },
    ),
    Entry(
        "moe_lib.interop.open_upcycled",
        lambda: dict(folder=save_upcycled(upcycled(), folder())),
        {"folder": [*PATH, "", "not/there"]},
    ),
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
