"""ModelConfig to transformers' DeepseekV2Config and back. What the other side cannot express is
refused by name."""

import warnings
from typing import TYPE_CHECKING

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.model.routers import Router

if TYPE_CHECKING:
    from transformers import DeepseekV2Config

_SAME_NAME = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "kv_lora_rank",
    "q_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "attention_bias",
    "mlp_bias",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
)
_EXPERTS = (
    "n_routed_experts",
    "num_experts_per_tok",
    "n_shared_experts",
    "moe_intermediate_size",
    "first_k_dense_replace",
    "routed_scaling_factor",
)
# Training settings that transformers stores in the file and never reads.
_BALANCE = Router.balanced_by  # what DeepSeek-V2 has too
# Settings that transformers' DeepSeek-V2 stores and ignores although the original code obeys them:
# what is harmless.
_IGNORED = {
    "norm_topk_prob": (False, None),
    "scoring_func": ("softmax", None),
    "moe_layer_freq": (1, None),
}
_ROUTERS = {"topk": "greedy", "group_limited": "group_limited_greedy"}


def config_from_transformers(official: "DeepseekV2Config") -> ModelConfig:
    """The ModelConfig whose LanguageModel computes what transformers computes with `official`.

    Warns where transformers ignores a setting that DeepSeek's original code obeys. Raises
    ValueError or TypeError naming a setting that is not supported: another activation, attention
    dropout, a rope type besides YaRN, another topk_method, sizes that do not fit together.
    """
    require(official.hidden_act == "silu", "hidden_act", official.hidden_act, '"silu"')
    require(
        not official.attention_dropout,
        "attention_dropout",
        official.attention_dropout,
        "0: this library has no attention dropout",
    )
    for name, harmless in _IGNORED.items():
        value = getattr(official, name, None)
        if value not in harmless:
            warnings.warn(
                f"{name}: got {value!r}, which transformers' DeepSeek-V2 ignores; so does "
                "this model, to "
                "give the same logits. DeepSeek's original code would obey it.",
                stacklevel=3,
            )
    theta, scaling = _rope_from_transformers(official)
    same = {name: getattr(official, name) for name in _SAME_NAME}
    return ModelConfig(
        **same,
        **_experts_from_transformers(official),
        attention="mla",
        rope_theta=theta,
        rope_scaling=scaling,
    )


def _experts_from_transformers(official: "DeepseekV2Config") -> dict:
    layers = official.num_hidden_layers
    if (
        official.first_k_dense_replace >= layers
    ):  # no layer has experts: the other settings describe nothing
        return dict(n_routed_experts=0, aux_loss_alpha=0.0)
    fields = {name: getattr(official, name) for name in _EXPERTS}
    # no balance loss if the file names none: that is how transformers trains
    fields |= {name: getattr(official, name, None) or 0.0 for name in _BALANCE}
    fields["seq_aux"] = getattr(official, "seq_aux", True)
    groups, most = official.n_group or 1, official.topk_group or 1
    if official.topk_method == "greedy" or (
        official.topk_method == "group_limited_greedy" and groups == 1
    ):
        needs_devices = fields.get("device_loss_alpha") or fields.get("communication_loss_alpha")
        return fields | dict(router="topk", n_group=groups if needs_devices else 1)
    require(
        official.topk_method == "group_limited_greedy",
        "topk_method",
        official.topk_method,
        '"greedy" or "group_limited_greedy"',
    )
    # transformers fills up with experts of weight 0 where the allowed groups have fewer than k
    reachable = most * official.n_routed_experts // groups
    fields["num_experts_per_tok"] = min(official.num_experts_per_tok, reachable)
    return fields | dict(router="group_limited", n_group=groups, topk_group=most)


def _rope_from_transformers(official: "DeepseekV2Config") -> tuple[float, dict | None]:
    rope = dict(official.rope_parameters)
    theta, kind = rope.pop("rope_theta"), rope.get("rope_type", "default")
    partial = rope.pop("partial_rotary_factor", 1.0)
    require(
        partial == 1.0, "partial_rotary_factor", partial, "1: all of qk_rope_head_dim is turned"
    )
    if kind == "default":
        return theta, None
    require(kind == "yarn", "rope_type", kind, '"default" or "yarn"')
    rope.pop("type", None)
    if rope.get("factor") is None:
        rope["factor"] = official.max_position_embeddings / rope["original_max_position_embeddings"]
    return theta, rope


def config_to_transformers(config: ModelConfig) -> "DeepseekV2Config":
    """The DeepseekV2Config of a model with `config`, without special tokens.

    Raises ValueError naming the first setting that transformers' DeepSeek-V2 cannot express.
    """
    from transformers import DeepseekV2Config

    _check_expressible(config)
    fields = {name: getattr(config, name) for name in _SAME_NAME}
    if config.n_routed_experts and config.first_k_dense_replace < config.num_hidden_layers:
        fields |= {name: getattr(config, name) for name in _EXPERTS}
        fields |= {name: value for name in _BALANCE if (value := getattr(config, name))}
        fields["seq_aux"] = config.seq_aux
        fields |= dict(
            topk_method=_ROUTERS[config.router],
            n_group=config.n_group,
            topk_group=config.topk_group,
        )
    else:  # it knows no model without experts: one that no layer has
        fields |= dict(
            first_k_dense_replace=config.num_hidden_layers,
            n_routed_experts=1,
            n_shared_experts=0,
            num_experts_per_tok=1,
            moe_intermediate_size=1,
        )
    rope = {
        name: value
        for name, value in (config.rope_scaling or {"rope_type": "default"}).items()
        if value is not None
    }
    return DeepseekV2Config(
        **fields,
        rope_parameters={**rope, "rope_theta": float(config.rope_theta)},
        norm_topk_prob=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        architectures=["DeepseekV2ForCausalLM"],
    )


def _check_expressible(config: ModelConfig) -> None:
    require(
        config.attention == "mla", "attention", config.attention, '"mla": DeepSeek-V2 has no other'
    )
    require(config.causal, "causal", False, "True: transformers has no masked DeepSeek-V2")
    heads = config.num_attention_heads
    require(
        config.hidden_size % heads == 0,
        "hidden_size",
        config.hidden_size,
        f"a multiple of num_attention_heads ({heads}): DeepseekV2Config insists on it",
    )
    if not config.n_routed_experts:
        return
    kinds, wants = config.mlp_layer_types, '"hash_moe" nowhere: DeepSeek-V2 has no table of tokens'
    require("hash_moe" not in (kinds or ()), "mlp_layer_types", kinds, wants)
    require(config.router in _ROUTERS, "router", config.router, '"topk" or "group_limited"')
    require(
        config.scoring_func == "softmax",
        "scoring_func",
        config.scoring_func,
        '"softmax": transformers\' DeepSeek-V2 ignores this setting',
    )
    require(
        not config.norm_topk_prob,
        "norm_topk_prob",
        True,
        "False: transformers' DeepSeek-V2 ignores this "
        "setting, so the weights would not be divided by their sum",
    )
    require(
        config.capacity_factor is None,
        "capacity_factor",
        config.capacity_factor,
        "None: transformers' DeepSeek-V2 never drops a token, so it would train differently",
    )
