"""The settings of YaRN, which stretches rotary positions to longer texts (Peng et al. 2023)."""

from moe_lib.errors import require, require_bool, require_number, require_whole

_YARN_DEFAULTS = {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": None}
_YARN_DEFAULTS |= {"beta_fast": 32, "beta_slow": 1, "mscale": None, "mscale_all_dim": None}
_YARN_DEFAULTS |= {"attention_factor": None, "truncate": True}


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
