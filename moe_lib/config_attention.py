"""Which attention settings of a ModelConfig go together. What does not is refused by name, never
ignored."""

from typing import TYPE_CHECKING

from moe_lib.errors import require, require_whole

if TYPE_CHECKING:
    from moe_lib.config import ModelConfig

_LATENT_SIZES = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_YARN_DEFAULTS = {
    "rope_type": "yarn",
    "factor": None,
    "original_max_position_embeddings": None,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": None,
    "mscale_all_dim": None,
    "attention_factor": None,
    "truncate": True,
}


def check_attention(config: "ModelConfig") -> None:
    """Raise ValueError or TypeError naming the first attention setting that is out of range or out
    of place."""
    require(config.attention in ("mha", "mla"), "attention", config.attention, '"mha" or "mla"')
    require(
        isinstance(config.attention_bias, bool),
        "attention_bias",
        config.attention_bias,
        "True or False",
        TypeError,
    )
    require(_is_number(config.rope_theta), "rope_theta", config.rope_theta, "a number", TypeError)
    require(
        config.rope_theta > 1,
        "rope_theta",
        config.rope_theta,
        "more than 1: later pairs turn more slowly",
    )
    if config.attention == "mla":
        _check_latent(config)
    else:
        _check_heads(config)


def _check_heads(config: "ModelConfig") -> None:
    heads = config.num_attention_heads
    for name in (*_LATENT_SIZES, "q_lora_rank", "rope_scaling"):
        value = getattr(config, name)
        require(
            value is None,
            name,
            value,
            'None with attention "mha": it belongs to latent attention ("mla")',
        )
    require(not config.attention_bias, "attention_bias", True, 'False with attention "mha"')
    require(
        config.hidden_size % heads == 0,
        "hidden_size",
        config.hidden_size,
        f"a multiple of num_attention_heads ({heads})",
    )
    require(
        config.head_dim % 2 == 0,
        "hidden_size",
        config.hidden_size,
        "hidden_size / num_attention_heads even: rotary positions turn pairs of numbers",
    )
    require(
        heads % config.num_key_value_heads == 0,
        "num_key_value_heads",
        config.num_key_value_heads,
        f"a divisor of num_attention_heads ({heads})",
    )


def _check_latent(config: "ModelConfig") -> None:
    for name in _LATENT_SIZES:
        require_whole(name, getattr(config, name))
    if config.q_lora_rank is not None:
        require_whole("q_lora_rank", config.q_lora_rank)
    require(
        config.qk_rope_head_dim % 2 == 0,
        "qk_rope_head_dim",
        config.qk_rope_head_dim,
        "an even number: rotary positions turn pairs of numbers",
    )
    require(
        config.num_key_value_heads == config.num_attention_heads,
        "num_key_value_heads",
        config.num_key_value_heads,
        f"num_attention_heads ({config.num_attention_heads}) with attention "
        '"mla": every head makes its own keys out of the shared latent',
    )


def complete_rope_scaling(scaling: dict | None) -> dict | None:
    """YaRN's settings with the defaults filled in, as a new dict; None stays None.

    The names are transformers'. Wanted: factor (1 or more) and original_max_position_embeddings.
    Optional: beta_fast (32), beta_slow (1), mscale, mscale_all_dim, attention_factor (None),
    truncate (True). Of rope types only "yarn".

    Raises ValueError or TypeError naming the setting.
    """
    if scaling is None:
        return None
    require(
        isinstance(scaling, dict),
        "rope_scaling",
        type(scaling).__name__,
        "None or a dict of YaRN settings",
        TypeError,
    )
    given = {("rope_type" if name == "type" else name): value for name, value in scaling.items()}
    unknown = sorted(set(given) - set(_YARN_DEFAULTS))
    require(not unknown, "rope_scaling", unknown, f"only these names: {', '.join(_YARN_DEFAULTS)}")
    full = _YARN_DEFAULTS | {name: value for name, value in given.items() if value is not None}
    require(full["rope_type"] == "yarn", "rope_scaling", full["rope_type"], 'a rope_type of "yarn"')
    _check_yarn(full)
    return full


def _check_yarn(full: dict) -> None:
    def check(condition: bool, name: str, wants: str, error: type[Exception] = ValueError) -> None:
        require(condition, f"rope_scaling[{name!r}]", full[name], wants, error)

    check(isinstance(full["truncate"], bool), "truncate", "True or False", TypeError)
    require_whole(
        "rope_scaling['original_max_position_embeddings']", full["original_max_position_embeddings"]
    )
    for name in ("factor", "beta_fast", "beta_slow"):
        check(_is_number(full[name]), name, "a number", TypeError)
    for name in ("mscale", "mscale_all_dim", "attention_factor"):
        check(full[name] is None or _is_number(full[name]), name, "None or a number", TypeError)
        check(full[name] is None or full[name] >= 0, name, "None or at least 0")
    check(full["factor"] >= 1, "factor", "1 or more: YaRN stretches")
    check(
        full["beta_fast"] >= full["beta_slow"] > 0,
        "beta_slow",
        f"more than 0 and at most beta_fast ({full['beta_fast']})",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
