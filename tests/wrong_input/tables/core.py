"""Wrong input of the configuration, of counting, published sizes, intervals and devices."""

import os

from moe_lib import ModelConfig, explore, validation
from moe_lib.counting import count_parameters
from moe_lib.published import published
from moe_lib.text import load_tokenizer
from tests.wrong_input.models import SIZES, config, small
from tests.wrong_input.table import (
    COUNT,
    FINITE,
    FLAG,
    INF,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    TEXT,
    TOKENIZER,
    Entry,
    Made,
)

OPTIONAL_COUNT = [value for value in COUNT if value is not None]
NAME = [None, 3, True, ["topk"], ("topk",), {}, "", "unknown", "TOPK", b"topk"]
HUGE = 10**400
BALANCE = [*NON_NEGATIVE, [0.1], "0.01", -INF, HUGE]
YARN = dict(factor=4.0, original_max_position_embeddings=16)
LATENT = dict(
    attention="mla",
    kv_lora_rank=4,
    qk_nope_head_dim=2,
    qk_rope_head_dim=2,
    v_head_dim=4,
    rope_scaling=YARN,
)
CONFIG = [None, 3, "mini", {}, [], SIZES, ModelConfig]


def fields(**changes):
    return lambda: {**SIZES, **changes}


def yarn(**changes) -> list[dict]:
    return [{**YARN, name: value} for name, values in changes.items() for value in values]


COUNTED = Made("the count of its parameters", lambda _: count_parameters(config()))
SCALINGS = ["yarn", 3, [], [YARN], {}, {"factor": 2.0}, {"original_max_position_embeddings": 8}]
SCALINGS += yarn(
    factor=[None, "4", 0, 0.5, NAN, INF, True],
    original_max_position_embeddings=[None, 0, 1.5, "16", True],
    rope_type=["linear", "dynamic", 3],
    beta_fast=["32", NAN, True, 0.5],
    beta_slow=["1", NAN, 0, -1, 64],
    mscale=["1", NAN, -1, True],
    mscale_all_dim=["1", INF, -1],
    attention_factor=["1", NAN, -0.1, True],
    truncate=["yes", 1, 0],
    unknown=[1],
)

ENTRIES = [
    Entry(
        "moe_lib.ModelConfig",
        fields(),
        {
            "vocab_size": [*COUNT, INF],
            "hidden_size": [*COUNT, 7, 6],
            "num_hidden_layers": COUNT,
            "num_attention_heads": COUNT,
            "num_key_value_heads": [*OPTIONAL_COUNT, 3],
            "intermediate_size": COUNT,
            "n_routed_experts": NATURAL,
            "num_experts_per_tok": [*COUNT, 5],
            "n_shared_experts": NATURAL,
            "moe_intermediate_size": COUNT,
            "first_k_dense_replace": [*NATURAL, 3],
            "mlp_layer_types": [3, "moe", ["moe"], [3, "moe"], ["moe", "sparse"], ["moe", None]],
            "router": [*NAME, "expert_choice", "biased"],
            "scoring_func": [*NAME, "relu"],
            "norm_topk_prob": [*FLAG, None],
            "routed_scaling_factor": [*FINITE, None],
            "n_group": [*COUNT, 3],
            "topk_group": [*OPTIONAL_COUNT, 2],
            "capacity_factor": POSITIVE,
            "capacity_per": [*NAME, "device"],
            "never_drop_share": [*SHARE, 0.5],
            "causal": [*FLAG, None],
            "attention": [*NAME, "mqa"],
            "kv_lora_rank": [*OPTIONAL_COUNT, 4],
            "q_lora_rank": [*OPTIONAL_COUNT, 4],
            "qk_nope_head_dim": [*OPTIONAL_COUNT, 4],
            "qk_rope_head_dim": [*OPTIONAL_COUNT, 4],
            "v_head_dim": [*OPTIONAL_COUNT, 4],
            "rope_scaling": ["yarn", 3, [], YARN],
            "attention_bias": [*FLAG, None, True],
            "mlp_bias": [*FLAG, None],
            "max_position_embeddings": COUNT,
            "rope_theta": [*POSITIVE, 1, None],
            "rms_norm_eps": [*POSITIVE, None],
            "initializer_range": [*POSITIVE, None],
            "tie_word_embeddings": [*FLAG, None],
            "aux_loss_alpha": BALANCE,
            "seq_aux": [*FLAG, None],
            "device_loss_alpha": [*BALANCE, None, 0.1],
            "communication_loss_alpha": [*BALANCE, None, 0.1],
            "router_z_loss_alpha": [*BALANCE, None],
            "importance_loss_alpha": [*BALANCE, None, 0.1],
            "load_loss_alpha": [*BALANCE, None, 0.1],
            "bias_update_speed": [*BALANCE, 0.1],
        },
    ),
    Entry(
        "moe_lib.ModelConfig",
        fields(**LATENT),
        {
            "kv_lora_rank": COUNT,
            "q_lora_rank": OPTIONAL_COUNT,
            "qk_nope_head_dim": COUNT,
            "qk_rope_head_dim": [*COUNT, 3],
            "v_head_dim": COUNT,
            "num_key_value_heads": [*OPTIONAL_COUNT, 1],
            "rope_scaling": SCALINGS,
        },
    ),
    Entry(
        "moe_lib.ModelConfig.preset",
        lambda: dict(name="tiny"),
        {"name": [*NAME, "Tiny", "mini-v3"], "hidden_size": [*COUNT, 7], "causal": FLAG},
    ),
    Entry(
        "moe_lib.ModelConfig.from_dict",
        lambda: dict(fields=dict(SIZES)),
        {"fields": [None, 3, "mini", [], [("vocab_size", 3)], {}, {"hidden": 8}, {3: 4}]},
        says={"fields": "config"},
    ),
    Entry(
        "moe_lib.ModelConfig.replace",
        lambda: dict(causal=False),
        {"causal": FLAG, "router": NAME, "vocab_size": COUNT},
        call=lambda changes: config().replace(**changes),
    ),
    Entry(
        "moe_lib.ModelConfig.is_moe_layer",
        lambda: dict(layer=1),
        {"layer": [-1, "1", None, 0.5, True, NAN, [1], 2, 99]},
        call=lambda arguments: config().is_moe_layer(**arguments),
    ),
    Entry(
        "moe_lib.explore",
        lambda: dict(model=small(vocab_size=4096), tokenizer=load_tokenizer(), text="a text"),
        {
            "model": [*MODEL, Made("a dense one", lambda _: small(**DENSE))],
            "tokenizer": TOKENIZER,
            "text": TEXT,
            "max_tokens": COUNT,
            "compare_text": [value for value in TEXT if value is not None],
            "compare_model": ["mini-v2", 3, {}],
            "compare_tokenizer": ["mixture", 3, {}],
            "names": ["ab", 3, ["a"], ["a", 3], ["a", "b", "c"], {"a": "b"}],
        },
        call=lambda arguments: explore(**{"compare_text": "b", **arguments}),
    ),
    Entry("moe_lib.counting.count_parameters", lambda: dict(config=config()), {"config": CONFIG}),
    Entry(
        "moe_lib.counting.flops_per_token",
        lambda: dict(config=published("DeepSeek-V2").sizes, context=0),
        {"config": [*CONFIG, COUNTED], "context": NATURAL},
    ),
    Entry(
        "moe_lib.counting.kv_cache_elements_per_token",
        lambda: dict(config=config()),
        {"config": [*CONFIG, COUNTED]},
    ),
    Entry(
        "moe_lib.counting.expected_distinct_experts",
        lambda: dict(n_experts=8, experts_per_token=2, tokens=3),
        {"n_experts": COUNT, "experts_per_token": [*NATURAL, 9], "tokens": NATURAL},
    ),
    Entry(
        "moe_lib.counting.parameters_read",
        lambda: dict(config=config(), tokens=3),
        {"config": [*CONFIG, COUNTED], "tokens": NATURAL},
    ),
    Entry(
        "moe_lib.counting.parameters_read",
        lambda: dict(config=config(n_routed_experts=0, n_shared_experts=0), tokens=3),
        {"tokens": NATURAL},
    ),
    Entry("moe_lib.published.sizes_of", lambda: dict(config=config()), {"config": CONFIG}),
    Entry(
        "moe_lib.published.published",
        lambda: dict(name="Mixtral 8x7B"),
        {"name": [*NAME, "mixtral 8x7b", "DeepSeek"]},
    ),
    Entry(
        "moe_lib.published.published_names",
        lambda: dict(dense=True),
        {"dense": [*FLAG, None]},
    ),
    Entry(
        "moe_lib.published.ModelSizes",
        lambda: dict(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            n_routed_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=8,
        ),
        {
            "vocab_size": COUNT,
            "hidden_size": COUNT,
            "num_hidden_layers": COUNT,
            "num_attention_heads": COUNT,
            "num_key_value_heads": COUNT,
            "head_dim": OPTIONAL_COUNT,
            "n_routed_experts": NATURAL,
            "num_experts_per_tok": [*COUNT, 5],
            "moe_intermediate_size": COUNT,
            "n_shared_experts": NATURAL,
            "first_k_dense_replace": [*NATURAL, 3],
            "intermediate_size": NATURAL,
            "kv_lora_rank": OPTIONAL_COUNT,
            "q_lora_rank": OPTIONAL_COUNT,
            "qk_nope_head_dim": NATURAL,
            "qk_rope_head_dim": NATURAL,
            "v_head_dim": NATURAL,
            "qk_norm": [*FLAG, None],
            "tie_word_embeddings": [*FLAG, None],
        },
    ),
    Entry(
        "moe_lib.intervals.interval",
        lambda: dict(values=[1, 2.0, NAN]),
        {
            "values": [None, 3, "123", ["1"], [True], [[1]]],
            "confidence": [*SHARE, 0, 1, INF, None],
        },
    ),
    Entry(
        "moe_lib.device",
        lambda: dict(COURSE_DEVICE="cpu"),
        {"COURSE_DEVICE": ["gpu", "cuda:99", "CPU", "cpu:", "3", "tpu"]},
        call=lambda arguments: with_variable(**arguments),
    ),
]
DENSE = dict(n_routed_experts=0, n_shared_experts=0, vocab_size=4096)


def with_variable(**variables):
    """moe_lib.device() under these environment variables."""
    from moe_lib import device

    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        return device()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


VALIDATION = "tested in tests/validation: it is what refuses, and its own arguments are constants"
RECORD = "a record that the library fills in; readers look at it and do not make it"
EXEMPT = {f"moe_lib.validation.{name}": VALIDATION for name in validation.__all__}
EXEMPT |= dict.fromkeys(
    (
        "moe_lib.counting.ParameterCount",
        "moe_lib.intervals.Interval",
        "moe_lib.published.PublishedModel",
        "moe_lib.tracing.Change",
        "moe_lib.tracing.Comparison",
        "moe_lib.tracing.LayerComparison",
        "moe_lib.tracing.LayerTrace",
        "moe_lib.tracing.Prediction",
        "moe_lib.tracing.Reading",
        "moe_lib.tracing.analysis.information.Information",
    ),
    RECORD,
)
PART = "a part of the functions of its file that are in the table; they check what goes in"
EXEMPT |= dict.fromkeys(
    (
        "moe_lib.tracing.analysis.specialisation.document_numbers",
        "moe_lib.tracing.analysis.specialisation.domain_labels",
        "moe_lib.tracing.analysis.specialisation.shuffle_over_documents",
        "moe_lib.tracing.analysis.specialisation.shuffle_within",
    ),
    PART,
)
