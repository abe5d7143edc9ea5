"""Which routing settings of a ModelConfig go together. What does not is refused by name, never
ignored."""

from typing import TYPE_CHECKING

from moe_lib.errors import require, require_whole

if TYPE_CHECKING:
    from moe_lib.config import ModelConfig

# Routers that collapse without help; the others are even by construction, or by their own bias or
# losses.
NEEDS_BALANCE = ("topk", "switch", "gshard", "topk_softmax", "group_limited")
# For each router, what it may have besides hidden size, number of experts and k.
_LIMITS_GROUPS = ("group_limited", "biased_topk")
_HAS_CAPACITY = (
    "topk",
    "noisy_topk",
    "switch",
    "gshard",
    "topk_softmax",
    "group_limited",
    "biased_topk",
    "hash",
)
_LEARNS = (*NEEDS_BALANCE, "noisy_topk", "biased_topk")  # balance losses have a gradient to give
_ALL = (*_LEARNS, "dense", "expert_choice", "hash", "base")
_ALPHAS = (
    "aux_loss_alpha",
    "device_loss_alpha",
    "communication_loss_alpha",
    "router_z_loss_alpha",
    "importance_loss_alpha",
    "load_loss_alpha",
    "bias_update_speed",
)


def check_routing(config: "ModelConfig") -> None:
    """Raise ValueError naming the first setting that is out of range or does not go with the
    router."""
    router, k, experts = config.router, config.num_experts_per_tok, config.n_routed_experts
    require(router in _ALL, "router", router, f"one of {', '.join(_ALL)}")
    require(
        config.scoring_func in ("softmax", "sigmoid"),
        "scoring_func",
        config.scoring_func,
        '"softmax" or "sigmoid"',
    )
    _only(config, "scoring_func", "softmax", ("topk", "biased_topk"))
    _only(config, "norm_topk_prob", False, ("topk", "biased_topk"))
    if experts:
        for name, wanted in (("switch", 1), ("base", 1), ("gshard", 2), ("dense", experts)):
            require(
                router != name or k == wanted,
                "num_experts_per_tok",
                k,
                f'{wanted} with router "{name}"',
            )
    require(
        not (router == "expert_choice" and config.causal),
        "router",
        router,
        "another router in a causal model: in expert choice a token's experts depend on "
        "later tokens",
    )
    _check_groups(config)
    _check_capacity(config)
    _check_factors(config)


def _check_groups(config: "ModelConfig") -> None:
    groups, most = config.n_group, config.topk_group
    require_whole("n_group", groups)
    require_whole("topk_group", most)
    require(most <= groups, "topk_group", most, f"at most n_group ({groups})")
    require(
        config.n_routed_experts % groups == 0,
        "n_group",
        groups,
        f"a divisor of n_routed_experts ({config.n_routed_experts})",
    )
    _only(config, "topk_group", groups, _LIMITS_GROUPS)
    require(
        config.router != "group_limited" or groups > 1,
        "n_group",
        groups,
        '2 or more with router "group_limited"',
    )
    if config.n_routed_experts:
        reachable = most * config.n_routed_experts // groups
        require(
            config.num_experts_per_tok <= reachable,
            "num_experts_per_tok",
            config.num_experts_per_tok,
            f"at most {reachable}, the experts in topk_group ({most}) groups",
        )


def _check_capacity(config: "ModelConfig") -> None:
    require(
        config.capacity_factor is None or config.capacity_factor > 0,
        "capacity_factor",
        config.capacity_factor,
        "None or more than 0",
    )
    _only(config, "capacity_factor", None, _HAS_CAPACITY)
    require(
        config.capacity_per in ("expert", "device"),
        "capacity_per",
        config.capacity_per,
        '"expert" or "device"',
    )
    require(
        config.capacity_per == "expert" or config.n_group > 1,
        "n_group",
        config.n_group,
        '2 or more with capacity_per "device": the number of devices',
    )
    share = config.never_drop_share
    require(0 <= share <= 1, "never_drop_share", share, "a share from 0 to 1")
    require(
        share == 0 or config.capacity_per == "device",
        "never_drop_share",
        share,
        '0 with capacity_per "expert"',
    )


def _check_factors(config: "ModelConfig") -> None:
    for name in _ALPHAS:
        value = getattr(config, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(number, name, value, "a number of 0 or more", TypeError)
        require(value >= 0, name, value, "0 or more")
    for name in _ALPHAS[:4]:
        _only(config, name, 0, _LEARNS)
    for name in ("device_loss_alpha", "communication_loss_alpha"):
        require(
            getattr(config, name) == 0 or config.n_group > 1,
            name,
            getattr(config, name),
            "0 when n_group is 1: it balances devices",
        )
    for name in ("importance_loss_alpha", "load_loss_alpha"):
        _only(config, name, 0, ("noisy_topk",))
    _only(config, "bias_update_speed", 0, ("biased_topk",))


def _only(config: "ModelConfig", name: str, neutral: object, routers: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value != neutral and config.router not in routers:
        require(
            False,
            name,
            value,
            f'{neutral!r} with router "{config.router}"; others go with {", ".join(routers)}',
        )
