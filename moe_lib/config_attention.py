"""Which attention settings of a ModelConfig go together. What does not is refused, not ignored."""

from typing import TYPE_CHECKING

from moe_lib.errors import require, require_bool, require_number, require_whole

if TYPE_CHECKING:
    from moe_lib.config import ModelConfig

_LATENT_SIZES = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_YARN_DEFAULTS = {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": None}
_YARN_DEFAULTS |= {"beta_fast": 32, "beta_slow": 1, "mscale": None, "mscale_all_dim": None}
_YARN_DEFAULTS |= {"attention_factor": None, "truncate": True}


def check_attention(config: "ModelConfig") -> None:
    """Raise ValueError or TypeError naming the first attention setting that is out of place."""
    require_number("rope_theta", config.rope_theta, above=1)  # later pairs turn more slowly
    (_check_latent if config.attention == "mla" else _check_heads)(config)


def _check_heads(config: "ModelConfig") -> None:
    width, heads = config.hidden_size, config.num_attention_heads
    shared = config.num_key_value_heads
    for name in (*_LATENT_SIZES, "q_lora_rank", "rope_scaling"):
        wants = 'None with attention "mha": it belongs to latent attention ("mla")'
        require(getattr(config, name) is None, name, getattr(config, name), wants)
    require(not config.attention_bias, "attention_bias", True, 'False with attention "mha"')
    wants = f"a multiple of num_attention_heads ({heads})"
    require(width % heads == 0, "hidden_size", width, wants)
    wants = "hidden_size / num_attention_heads even: rotary positions turn pairs of numbers"
    require(config.head_dim % 2 == 0, "hidden_size", width, wants)
    wants = f"a divisor of num_attention_heads ({heads})"
    require(heads % shared == 0, "num_key_value_heads", shared, wants)


def _check_latent(config: "ModelConfig") -> None:
    for name in _LATENT_SIZES:  # with "mla" none of them may be None
        require_whole(name, getattr(config, name))
    turned, heads = config.qk_rope_head_dim, config.num_attention_heads
    wants = "an even number: rotary positions turn pairs of numbers"
    require(turned % 2 == 0, "qk_rope_head_dim", turned, wants)
    shared = config.num_key_value_heads
    wants = f'num_attention_heads ({heads}) with attention "mla": every head makes its own keys'
    wants += " out of the shared latent"
    require(shared == heads, "num_key_value_heads", shared, wants)


def complete_rope_scaling(scaling: dict | None) -> dict | None:
    """YaRN's settings with the defaults filled in, as a new dict; None stays None.

    The names are transformers'. Wanted: factor (1 or more) and original_max_position_embeddings;
    the others have defaults. ValueError or TypeError names the setting.
    """
    if scaling is None:
        return None
    given = {("rope_type" if name == "type" else name): value for name, value in scaling.items()}
    unknown = sorted(set(given) - set(_YARN_DEFAULTS))
    require(not unknown, "rope_scaling", unknown, f"only these names: {', '.join(_YARN_DEFAULTS)}")
    full = _YARN_DEFAULTS | {name: value for name, value in given.items() if value is not None}
    require(full["rope_type"] == "yarn", "rope_scaling", full["rope_type"], 'a rope_type of "yarn"')
    require_bool("rope_scaling['truncate']", full["truncate"])
    length = full["original_max_position_embeddings"]
    require_whole("rope_scaling['original_max_position_embeddings']", length)
    require_number("rope_scaling['beta_fast']", full["beta_fast"])
    require_number("rope_scaling['beta_slow']", full["beta_slow"])
    require_number("rope_scaling['factor']", full["factor"], at_least=1)  # YaRN stretches
    for name in ("mscale", "mscale_all_dim", "attention_factor"):
        if full[name] is not None:
            require_number(f"rope_scaling[{name!r}]", full[name], at_least=0)
    fast, slow = full["beta_fast"], full["beta_slow"]
    wants = f"more than 0 and at most beta_fast ({fast})"
    require(fast >= slow > 0, "rope_scaling['beta_slow']", slow, wants)
    return full
