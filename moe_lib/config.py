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

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "moe_intermediate_size",
    "max_position_embeddings",
    "num_experts_per_tok",
)
# Factors and speeds of what evens the load out; which of them a router takes stands on its class.
_BALANCE = (
    "aux_loss_alpha",
    "device_loss_alpha",
    "communication_loss_alpha",
    "router_z_loss_alpha",
    "importance_loss_alpha",
    "load_loss_alpha",
    "bias_update_speed",
)

# Recipe sizes used by the notebooks and by the shipped checkpoints. `*_dense` is the baseline of
# its MoE neighbour: its feed-forward width equals what one token passes through there (shared +
# chosen experts).
_PRESETS: dict[str, dict] = {
    "tiny": dict(
        vocab_size=4096,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=192,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=64,
        first_k_dense_replace=0,
        max_position_embeddings=256,
    ),
    "mini": dict(
        vocab_size=4096,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        n_routed_experts=16,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=128,
        first_k_dense_replace=1,
        max_position_embeddings=512,
    ),
    # DeepSeek-V2 in small, without compressed queries (as V2-Lite), its experts balanced by V3's
    # bias.
    "mini-v2": dict(
        vocab_size=6144,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        n_routed_experts=16,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=128,
        first_k_dense_replace=1,
        max_position_embeddings=512,
        attention="mla",
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=16,
        v_head_dim=32,
        router="biased_topk",
        scoring_func="sigmoid",
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        bias_update_speed=0.005,
    ),  # V3's 0.001 is for runs of many thousand steps
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides a model's shape.

    vocab_size               number of token ids
    hidden_size              width of the residual stream
    num_hidden_layers        Transformer blocks
    num_attention_heads      query heads; `num_key_value_heads` of them keep keys and values (fewer:
                             grouped-query)
    intermediate_size        width of the dense feed-forward layers
    n_routed_experts         experts a router chooses from in each MoE layer; 0 makes the whole
                             model dense
    num_experts_per_tok      k: routed experts chosen per token
    n_shared_experts         experts every token passes, without a router (DeepSeekMoE, section 3.2)
    moe_intermediate_size    width of one expert
    first_k_dense_replace    the first k blocks keep a dense feed-forward layer
    router                   a name of `moe_lib.model.routers.ROUTERS`: "topk", "group_limited"
                             (DeepSeek-V2), "biased_topk" (DeepSeek-V3), "switch", "gshard",
                             "expert_choice" …
    scoring_func             how router logits become affinities: "softmax" or "sigmoid" ("topk" and
                             "biased_topk")
    norm_topk_prob           divide the k chosen weights by their sum (Mixtral, V3) or keep them raw
                             (DeepSeek-V2)
    routed_scaling_factor    constant that multiplies the chosen weights
    n_group                  equal blocks of experts, one per device
    topk_group               groups a token may use ("group_limited", "biased_topk"); None: all
    capacity_factor          in training, room of an expert or device in multiples of its even
                             share; None: no limit
    capacity_per             "expert" (first come, first served) or "device" (lowest affinity
                             dropped first)
    never_drop_share         share of the sequences whose tokens are never dropped (capacity_per
                             "device"; V2: 0.1)
    causal                   True: next-token model. False: masked language model, attention in both
                             directions
    attention                "mha" (grouped-query by `num_key_value_heads`) or "mla" (multi-head
                             latent attention)
    kv_lora_rank             "mla": numbers in the latent that keys and values of all heads are made
                             of
    q_lora_rank              "mla": numbers in the latent that queries are made of; None: queries
                             are not compressed
    qk_nope_head_dim, qk_rope_head_dim   "mla": numbers of a query or key without and with rotary
                                         position
    v_head_dim               "mla": numbers of a value
    rope_scaling             "mla": None, or YaRN's settings for long texts (see
                             `complete_rope_scaling`)
    attention_bias           "mla": biases where x enters a latent and where the output leaves, as
                             in transformers
    mlp_bias                 biases in dense and shared feed-forward layers, never in routed experts
    aux_loss_alpha           factor of the expert balance loss; 0 switches it off. None: 0.01 for
                             routers that need it
    seq_aux                  True: balance losses are taken per sequence and averaged. False: over
                             the batch
    device_loss_alpha, communication_loss_alpha   factors of DeepSeek-V2's other two balance losses,
                                                  over n_group
                             devices
    router_z_loss_alpha      factor of the router z-loss (ST-MoE: 0.001)
    importance_loss_alpha, load_loss_alpha   factors of Shazeer's two losses ("noisy_topk": 0.1 each
                                             in the paper)
    bias_update_speed        step of the selection bias after each optimiser step ("biased_topk").
                             None: 0.001 there
    """

    vocab_size: int
    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int | None = None
    intermediate_size: int = 384
    n_routed_experts: int = 0
    num_experts_per_tok: int = 2
    n_shared_experts: int = 0
    moe_intermediate_size: int = 128
    first_k_dense_replace: int = 0
    router: str = "topk"
    scoring_func: str = "softmax"
    norm_topk_prob: bool = False
    routed_scaling_factor: float = 1.0
    n_group: int = 1
    topk_group: int | None = None
    capacity_factor: float | None = None
    capacity_per: str = "expert"
    never_drop_share: float = 0.0
    causal: bool = True
    attention: str = "mha"
    kv_lora_rank: int | None = None
    q_lora_rank: int | None = None
    qk_nope_head_dim: int | None = None
    qk_rope_head_dim: int | None = None
    v_head_dim: int | None = None
    rope_scaling: dict | None = dataclasses.field(default=None, hash=False)
    attention_bias: bool = False
    mlp_bias: bool = False
    max_position_embeddings: int = 512
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    aux_loss_alpha: float | None = None
    seq_aux: bool = True
    device_loss_alpha: float = 0.0
    communication_loss_alpha: float = 0.0
    router_z_loss_alpha: float = 0.0
    importance_loss_alpha: float = 0.0
    load_loss_alpha: float = 0.0
    bias_update_speed: float | None = None

    def __post_init__(self):
        for name in _SIZES:
            require_whole(name, getattr(self, name))
        for name in ("n_routed_experts", "n_shared_experts", "first_k_dense_replace"):
            require_whole(name, getattr(self, name), at_least=0)
        for name in ("causal", "seq_aux", "norm_topk_prob", "tie_word_embeddings", "mlp_bias"):
            require_bool(name, getattr(self, name))
        router = self.router_class
        for name, value in (
            ("num_key_value_heads", self.num_attention_heads),
            ("topk_group", self.n_group),
            ("aux_loss_alpha", 0.01 if router.collapses else 0.0),
            ("bias_update_speed", 0.001 if "bias_update_speed" in router.balanced_by else 0.0),
            ("rope_scaling", complete_rope_scaling(self.rope_scaling)),
        ):
            if getattr(self, name) is None or name == "rope_scaling":
                object.__setattr__(self, name, value)
        require_whole("num_key_value_heads", self.num_key_value_heads)
        check_attention(self)
        self._check_experts()
        for name in ("rms_norm_eps", "initializer_range"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")

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
        require(
            self.first_k_dense_replace == 0 or self.intermediate_size == active,
            "intermediate_size",
            self.intermediate_size,
            f"{active}, the active width of the MoE blocks",
        )
        return self.replace(
            n_routed_experts=0,
            n_shared_experts=0,
            first_k_dense_replace=0,
            intermediate_size=active,
        )

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "ModelConfig":
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
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
