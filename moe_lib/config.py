"""The sizes and switches of a model, in one frozen dataclass.

Field names are those of transformers' `DeepseekV2Config` wherever it has one, so that a reader who
knows one config file can read the other.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_lib.config_attention import check_attention, complete_rope_scaling
from moe_lib.errors import require, require_bool, require_number, require_one_of, require_whole

if TYPE_CHECKING:
    from moe_lib.model.routers import Router

# Factors and speeds of what evens the load out; which of them a router takes stands on its class.
_BALANCE = ("aux_loss_alpha", "device_loss_alpha", "communication_loss_alpha")
_BALANCE += ("router_z_loss_alpha", "importance_loss_alpha", "load_loss_alpha", "bias_update_speed")

# Sizes of the notebooks and of the shipped checkpoints.
_MINI = dict(
    vocab_size=4096,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=384,
    n_routed_experts=16,
    n_shared_experts=1,
    moe_intermediate_size=128,
    first_k_dense_replace=1,
)
_PRESETS: dict[str, dict] = {
    "mini": _MINI,
    "tiny": dict(
        vocab_size=4096,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=192,
        n_routed_experts=8,
        n_shared_experts=1,
        moe_intermediate_size=64,
        max_position_embeddings=256,
    ),
    # DeepSeek-V2 in small, queries not compressed (as in V2-Lite), balanced by V3's bias
    "mini-v2": _MINI
    | dict(
        vocab_size=6144,
        attention="mla",
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=16,
        v_head_dim=32,
        router="biased_topk",
        scoring_func="sigmoid",
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        bias_update_speed=0.005,  # V3's 0.001 is for runs of many thousand steps
    ),
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides a model's shape; each field is explained where it stands.

    Raises ValueError or TypeError naming the first field that is out of range, or that does not go
    with the router (its class says what it takes, in `moe_lib.model.routers`).
    """

    vocab_size: int  # token ids
    hidden_size: int = 128  # width of the residual stream
    num_hidden_layers: int = 4  # Transformer blocks
    num_attention_heads: int = 4  # query heads
    num_key_value_heads: int | None = None  # None: as many. Fewer: grouped-query attention
    intermediate_size: int = 384  # width of the dense feed-forward layers
    n_routed_experts: int = 0  # E, experts to choose from in each MoE layer; 0: the model is dense
    num_experts_per_tok: int = 2  # k, routed experts chosen per token
    n_shared_experts: int = 0  # experts every token passes, without a router (DeepSeekMoE, 3.2)
    moe_intermediate_size: int = 128  # width of one expert
    first_k_dense_replace: int = 0  # the first blocks that keep a dense feed-forward layer

    router: str = "topk"  # a name of `moe_lib.model.routers.ROUTERS`
    scoring_func: str = "softmax"  # router logits become affinities by "softmax" or "sigmoid"
    norm_topk_prob: bool = False  # divide the k weights by their sum (Mixtral, DeepSeek-V3)?
    routed_scaling_factor: float = 1.0  # multiplies the chosen weights (DeepSeek-V2: 16, V3: 2.5)
    n_group: int = 1  # equal blocks of experts, one per device
    topk_group: int | None = None  # groups that a token may use; None: all
    # In training, room of an expert or device in multiples of its even share; None: no limit.
    capacity_factor: float | None = None
    capacity_per: str = (
        "expert"  # first come, first served; "device": lowest affinity dropped first
    )
    # Share of the sequences, drawn anew each step, that nothing is dropped of ("device"; V2: 0.1).
    never_drop_share: float = 0.0

    causal: bool = True  # next-token model. False: masked language model, attention both ways
    attention: str = "mha"  # multi-head or grouped-query; "mla": multi-head latent attention
    kv_lora_rank: int | None = None  # "mla": numbers in the latent of keys and values of all heads
    q_lora_rank: int | None = None  # "mla": the same of the queries; None: they are not compressed
    qk_nope_head_dim: int | None = None  # "mla": numbers of a query or key without position …
    qk_rope_head_dim: int | None = None  # … and with rotary position
    v_head_dim: int | None = None  # "mla": numbers of a value
    # "mla": None, or YaRN's settings for long texts (see `complete_rope_scaling`).
    rope_scaling: dict | None = dataclasses.field(default=None, hash=False)
    attention_bias: bool = False  # "mla": biases where x enters a latent and at the output
    mlp_bias: bool = False  # biases in dense and shared feed-forward layers, not in routed experts
    max_position_embeddings: int = 512
    rope_theta: float = 10000.0  # base of the rotary angles: larger turns more slowly
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02  # standard deviation of the first weights
    tie_word_embeddings: bool = True  # the output layer is the embedding

    aux_loss_alpha: float | None = (
        None  # factor of the expert balance loss; None: 0.01 where needed
    )
    seq_aux: bool = True  # balance losses per sequence, averaged. False: over the batch
    device_loss_alpha: float = 0.0  # factors of DeepSeek-V2's other two balance losses,
    communication_loss_alpha: float = 0.0  # over n_group devices
    router_z_loss_alpha: float = 0.0  # ST-MoE: 0.001
    importance_loss_alpha: float = 0.0  # factors of Shazeer's two losses for noisy top-k
    load_loss_alpha: float = 0.0  # (0.1 each in the paper)
    # Step of DeepSeek-V3's selection bias after each optimiser step; None: 0.001 where it exists.
    bias_update_speed: float | None = None

    def __post_init__(self):
        may_be_zero = ("n_routed_experts", "n_shared_experts", "first_k_dense_replace")
        for field in dataclasses.fields(self):
            if field.type is int:
                least = 0 if field.name in may_be_zero else 1
                require_whole(field.name, getattr(self, field.name), at_least=least)
            elif field.type is bool:
                require_bool(field.name, getattr(self, field.name))
        router = self.router_class
        for name, value in (
            ("num_key_value_heads", self.num_attention_heads),
            ("topk_group", self.n_group),
            ("aux_loss_alpha", 0.01 if router.collapses else 0.0),
            ("bias_update_speed", 0.001 if "bias_update_speed" in router.balanced_by else 0.0),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "rope_scaling", complete_rope_scaling(self.rope_scaling))
        require_whole("num_key_value_heads", self.num_key_value_heads)
        check_attention(self)
        self._check_experts()
        for name in ("rms_norm_eps", "initializer_range"):
            require_number(name, getattr(self, name), above=0)

    @property
    def router_class(self) -> "type[Router]":
        """The class of `router`: what it learns, takes and forbids."""
        from moe_lib.model.routers import ROUTERS  # here: the model's rooms read this file first

        require_one_of("router", self.router, ROUTERS)
        return ROUTERS[self.router]

    def _check_experts(self):
        dense, layers = self.first_k_dense_replace, self.num_hidden_layers
        wants = f"at most num_hidden_layers ({layers})"
        require(dense <= layers, "first_k_dense_replace", dense, wants)
        shared, wants = self.n_shared_experts, "0 when n_routed_experts is 0"
        require(self.n_routed_experts > 0 or shared == 0, "n_shared_experts", shared, wants)
        router = self.router_class
        router.check(self)
        wants = "another router in a causal model: a token's experts would depend on later tokens"
        require(router.causal or not self.causal, "router", self.router, wants)
        for name in _BALANCE:
            got = getattr(self, name)
            require_number(name, got, at_least=0)
            wants = f'0 with router "{self.router}"'
            require(got == 0 or name in router.balanced_by, name, got, wants)
        for name in ("device_loss_alpha", "communication_loss_alpha"):
            got, wants = getattr(self, name), "0 when n_group is 1: it balances devices"
            require(got == 0 or self.n_group > 1, name, got, wants)

    @property
    def head_dim(self) -> int:
        """Numbers in one query or key head."""
        if self.attention == "mla":
            return self.qk_nope_head_dim + self.qk_rope_head_dim
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_dim(self) -> int:
        """Numbers of a query or key that are turned by position: all of them, or "mla"'s part with
        position."""
        return self.qk_rope_head_dim if self.attention == "mla" else self.head_dim

    def is_moe_layer(self, layer: int) -> bool:
        """True where block `layer` (counted from 0) has experts."""
        require_whole("layer", layer, at_least=0)
        count = self.num_hidden_layers
        require(layer < count, "layer", layer, f"less than num_hidden_layers ({count})")
        return self.n_routed_experts > 0 and layer >= self.first_k_dense_replace

    def replace(self, **changes) -> "ModelConfig":
        """A copy with some fields changed; checked like a new one."""
        return dataclasses.replace(self, **changes)

    def dense(self) -> "ModelConfig":
        """The dense model of equal active size: every block gets one feed-forward layer as wide as
        what a token passes through in an MoE block, (shared + chosen) experts of
        `moe_intermediate_size`.

        Raises ValueError if the dense blocks of this config have another width: then no single
        width is equal.
        """
        if not self.n_routed_experts:
            return self
        active = (self.num_experts_per_tok + self.n_shared_experts) * self.moe_intermediate_size
        got, wants = self.intermediate_size, f"{active}, the active width of the MoE blocks"
        require(self.first_k_dense_replace == 0 or got == active, "intermediate_size", got, wants)
        none = dict.fromkeys(("n_routed_experts", "n_shared_experts", "first_k_dense_replace"), 0)
        return self.replace(**none, intermediate_size=active)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "ModelConfig":
        require(isinstance(fields, dict), "config", fields, "a dict of its fields", TypeError)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known, key=str)
        require(not unknown, "config", unknown, f"only these fields: {', '.join(sorted(known))}")
        require("vocab_size" in fields, "config", sorted(fields), "a vocab_size")
        return cls(**fields)

    @classmethod
    def preset(cls, name: str, **changes) -> "ModelConfig":
        """One of the course's sizes, e.g. `ModelConfig.preset("mini", causal=False)`; see
        `ModelConfig.presets()`."""
        require_one_of("name", name, sorted(_PRESETS))
        return cls(**{**_PRESETS[name], **changes})

    @staticmethod
    def presets() -> list[str]:
        return sorted(_PRESETS)
