"""The sizes and switches of a model, in one frozen dataclass.

Field names are those of transformers' `DeepseekV2Config` wherever it has one, so that a reader who
knows one config file can read the other.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_lib.errors import require, require_number, require_one_of, require_whole
from moe_lib.presets import PRESETS
from moe_lib.validation import Choice, Count, Finite, Flag, Natural, NonNegative, Positive, Share
from moe_lib.validation.checking import checked
from moe_lib.yarn_settings import complete_rope_scaling

if TYPE_CHECKING:
    from moe_lib.model.routers import Router

# Factors and speeds of what evens the load out; which of them a router takes stands on its class.
BALANCE = ("aux_loss_alpha", "device_loss_alpha", "communication_loss_alpha")
BALANCE += ("router_z_loss_alpha", "importance_loss_alpha", "load_loss_alpha", "bias_update_speed")
# Settings of latent attention.
_LATENT_SIZES = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")


@checked
@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides a model's shape; each field is explained where it stands.

    Raises ValueError or TypeError naming the first field that is out of range, or that does not go
    with the router (its class says what it takes, in `moe_lib.model.routers`).
    """

    vocab_size: Count  # token ids
    hidden_size: Count = 128  # width of the residual stream
    num_hidden_layers: Count = 4  # Transformer blocks
    num_attention_heads: Count = 4  # query heads
    num_key_value_heads: Count | None = None  # None: as many. Fewer: grouped-query attention
    intermediate_size: Count = 384  # width of the dense feed-forward layers
    n_routed_experts: Natural = 0  # E, experts to choose from in each MoE layer; 0: a dense model
    num_experts_per_tok: Count = 2  # k, routed experts chosen per token
    n_shared_experts: Natural = 0  # experts every token passes, without a router (DeepSeekMoE, 3.2)
    moe_intermediate_size: Count = 128  # width of one expert
    first_k_dense_replace: Natural = 0  # the first blocks that keep a dense feed-forward layer
    # Of each block (DeepSeek-V4): "dense"; "moe", experts by `router`; "hash_moe", by token id.
    mlp_layer_types: tuple[Choice("dense", "hash_moe", "moe"), ...] | None = None

    router: str = "topk"  # a name of `moe_lib.model.routers.ROUTERS`
    scoring_func: Choice("softmax", "sigmoid", "sqrtsoftplus") = "softmax"  # logits to affinities
    norm_topk_prob: Flag = False  # divide the k weights by their sum (Mixtral, DeepSeek-V3)?
    routed_scaling_factor: Finite = 1.0  # multiplies the chosen weights (DeepSeek-V2: 16, V3: 2.5)
    n_group: Count = 1  # equal blocks of experts, one per device
    topk_group: Count | None = None  # groups that a token may use; None: all
    # In training, room of an expert or device in multiples of its even share; None: no limit.
    capacity_factor: Positive | None = None
    # "expert": first come, first served; "device": lowest affinity dropped first.
    capacity_per: Choice("expert", "device") = "expert"
    # Share of the sequences, drawn anew each step, that nothing is dropped of ("device"; V2: 0.1).
    never_drop_share: Share = 0.0

    causal: Flag = True  # next-token model. False: masked language model, attention both ways
    attention: Choice("mha", "mla") = "mha"  # multi-head or grouped-query; "mla": latent attention
    kv_lora_rank: Count | None = None  # "mla": numbers in the latent of keys and values
    q_lora_rank: Count | None = None  # "mla": the same of the queries; None: they have no latent
    qk_nope_head_dim: Count | None = None  # "mla": numbers of a query or key without position …
    qk_rope_head_dim: Count | None = None  # … and with rotary position
    v_head_dim: Count | None = None  # "mla": numbers of a value
    # "mla": None, or YaRN's settings for long texts (see `complete_rope_scaling`).
    rope_scaling: dict | None = dataclasses.field(default=None, hash=False)
    attention_bias: Flag = False  # "mla": biases where x enters a latent and at the output
    mlp_bias: Flag = False  # biases in dense and shared feed-forward layers, not in routed experts
    max_position_embeddings: Count = 512
    rope_theta: Positive = 10000.0  # base of the rotary angles: larger turns more slowly
    rms_norm_eps: Positive = 1e-6
    initializer_range: Positive = 0.02  # standard deviation of the first weights
    tie_word_embeddings: Flag = True  # the output layer is the embedding

    aux_loss_alpha: NonNegative | None = None  # of the expert balance loss; None: 0.01 where needed
    seq_aux: Flag = True  # balance losses per sequence, averaged. False: over the batch
    device_loss_alpha: NonNegative = 0.0  # factors of DeepSeek-V2's other two balance losses,
    communication_loss_alpha: NonNegative = 0.0  # over n_group devices
    router_z_loss_alpha: NonNegative = 0.0  # ST-MoE: 0.001
    importance_loss_alpha: NonNegative = 0.0  # factors of Shazeer's two losses for noisy top-k
    load_loss_alpha: NonNegative = 0.0  # (0.1 each in the paper)
    # Step of DeepSeek-V3's selection bias after each optimiser step; None: 0.001 where it exists.
    bias_update_speed: NonNegative | None = None

    def __post_init__(self):
        router = self.router_class
        defaults = dict(num_key_value_heads=self.num_attention_heads, topk_group=self.n_group)
        defaults["aux_loss_alpha"] = 0.01 if router.collapses else 0.0
        defaults["bias_update_speed"] = 0.001 if "bias_update_speed" in router.balanced_by else 0.0
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "rope_scaling", complete_rope_scaling(self.rope_scaling))
        kinds = self.mlp_layer_types and tuple(self.mlp_layer_types)
        object.__setattr__(self, "mlp_layer_types", kinds)
        _check_attention(self)
        self._check_experts()

    @property
    def router_class(self) -> "type[Router]":
        """The class of `router`: what it learns, takes and forbids."""
        from moe_lib.model.routers import ROUTERS  # here: the model's rooms read this file first

        require_one_of("router", self.router, ROUTERS)
        return ROUTERS[self.router]

    @property
    def routers(self) -> "dict[int, type[Router]]":
        """The class of the router of each block that has experts."""
        from moe_lib.model.routers import LAYER_ROUTERS

        kinds = enumerate(self.mlp_layer_types or ("moe",) * self.num_hidden_layers)
        usual, has_one = self.router_class, self.is_moe_layer
        return {layer: LAYER_ROUTERS.get(kind, usual) for layer, kind in kinds if has_one(layer)}

    def _check_experts(self):
        dense, layers = self.first_k_dense_replace, self.num_hidden_layers
        require_whole("num_hidden_layers", layers, at_most=10_000)  # each is made one by one
        require_whole("n_routed_experts", self.n_routed_experts, 0, at_most=2**20)
        wants = f"at most num_hidden_layers ({layers})"
        require(dense <= layers, "first_k_dense_replace", dense, wants)
        shared, wants = self.n_shared_experts, "0 when n_routed_experts is 0"
        require(self.n_routed_experts > 0 or shared == 0, "n_shared_experts", shared, wants)
        self._check_layer_types()
        router = self.router_class
        for one in dict.fromkeys((router, *self.routers.values())):
            one.check(self)
        wants = "another router in a causal model: a token's experts would depend on later tokens"
        require(router.causal or not self.causal, "router", self.router, wants)
        for name in BALANCE:
            got, wants = getattr(self, name), f'0 with router "{self.router}"'
            require(got == 0 or name in router.balanced_by, name, got, wants)
        for name in ("device_loss_alpha", "communication_loss_alpha"):
            got, wants = getattr(self, name), "0 when n_group is 1: it balances devices"
            require(got == 0 or self.n_group > 1, name, got, wants)

    def _check_layer_types(self):
        kinds, layers = self.mlp_layer_types, self.num_hidden_layers
        wants = f"an entry for each of num_hidden_layers ({layers}) blocks"
        require(kinds is None or len(kinds) == layers, "mlp_layer_types", kinds, wants)
        for layer, kind in enumerate(kinds or ()):
            fits = self.is_moe_layer(layer) != (kind == "dense")
            wants = '"dense" in the blocks without experts, and only there'
            require(fits, f"mlp_layer_types[{layer}]", kind, wants)

    @property
    def head_dim(self) -> int:
        """Numbers in one query or key head."""
        if self.attention == "mla":
            return self.qk_nope_head_dim + self.qk_rope_head_dim
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_dim(self) -> int:
        """Numbers of a query or key that are turned by position: in "mla" a part of them."""
        return self.qk_rope_head_dim if self.attention == "mla" else self.head_dim

    @checked
    def is_moe_layer(self, layer: Natural) -> bool:
        """True where block `layer` (counted from 0) has experts."""
        require(layer < self.num_hidden_layers, "layer", layer, "less than num_hidden_layers")
        return self.n_routed_experts > 0 and layer >= self.first_k_dense_replace

    def replace(self, **changes) -> "ModelConfig":
        """A copy with some fields changed; checked like a new one."""
        return dataclasses.replace(self, **changes)

    def dense(self) -> "ModelConfig":
        """The dense model of equal active size: each feed-forward layer is as wide as what a token
        passes in an MoE block, (shared + chosen) · moe_intermediate_size. ValueError if this
        config's own dense blocks have another width: then no single width is equal."""
        if not self.n_routed_experts:
            return self
        active = (self.num_experts_per_tok + self.n_shared_experts) * self.moe_intermediate_size
        got, wants = self.intermediate_size, f"{active}, the active width of the MoE blocks"
        require(self.first_k_dense_replace == 0 or got == active, "intermediate_size", got, wants)
        none = dict.fromkeys(("n_routed_experts", "n_shared_experts", "first_k_dense_replace"), 0)
        return self.replace(**none, mlp_layer_types=None, intermediate_size=active)

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
        """One of the sizes in `presets()`, e.g. `ModelConfig.preset("mini", causal=False)`."""
        require_one_of("name", name, sorted(PRESETS))
        return cls(**PRESETS[name] | changes)

    @staticmethod
    def presets() -> list[str]:
        return sorted(PRESETS)


def _check_attention(config: ModelConfig) -> None:
    """Raise ValueError or TypeError naming the first attention setting that is out of place."""
    require_number("rope_theta", config.rope_theta, above=1)  # later pairs turn more slowly
    (_check_latent if config.attention == "mla" else _check_heads)(config)


def _check_heads(config: ModelConfig) -> None:
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


def _check_latent(config: ModelConfig) -> None:
    for name in _LATENT_SIZES:  # with "mla" none of them may be None
        require_whole(name, getattr(config, name))
    turned, heads = config.qk_rope_head_dim, config.num_attention_heads
    wants = "an even number: rotary positions turn pairs of numbers"
    require(turned % 2 == 0, "qk_rope_head_dim", turned, wants)
    shared = config.num_key_value_heads
    wants = f'num_attention_heads ({heads}) with attention "mla": every head makes its own keys'
    wants += " out of the shared latent"
    require(shared == heads, "num_key_value_heads", shared, wants)
