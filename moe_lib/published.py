"""Sizes of published models, as plain records: numbers to count with, no weights.

`moe_lib.counting` does the arithmetic; `sizes_of` makes the same record of a `ModelConfig` of ours.
"""

import dataclasses
from dataclasses import dataclass

from moe_lib.config import ModelConfig
from moe_lib.errors import require, require_whole
from moe_lib.validation import Count, Natural, checked


@checked
@dataclass(frozen=True)
class ModelSizes:
    """What decides the number of parameters and FLOPs of a decoder-only model; the names are
    transformers'.

    Attention is multi-head latent attention if `kv_lora_rank` is set (DeepSeek-V2, section 2.1),
    with heads of `qk_nope_head_dim` + `qk_rope_head_dim` and values of `v_head_dim`; a
    `q_lora_rank` of None means uncompressed queries (V2-Lite). Else it has heads of `head_dim`
    (None: hidden_size / num_attention_heads), of which `num_key_value_heads` keep keys and values.
    The first `first_k_dense_replace` blocks have a dense feed-forward layer of `intermediate_size`;
    the others have experts of `moe_intermediate_size`. With n_routed_experts 0 all blocks are
    dense. `qk_norm` (no name in transformers): an RMSNorm each over all queries and all keys of a
    block, as in OLMoE.

    ValueError or TypeError names a size that cannot be.
    """

    vocab_size: Count
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count | None = None
    n_routed_experts: Natural = 0
    num_experts_per_tok: Natural = 0
    moe_intermediate_size: Natural = 0
    n_shared_experts: Natural = 0
    first_k_dense_replace: Natural = 0
    intermediate_size: Natural = 0
    kv_lora_rank: Count | None = None
    q_lora_rank: Count | None = None
    qk_nope_head_dim: Natural = 0
    qk_rope_head_dim: Natural = 0
    v_head_dim: Natural = 0
    qk_norm: bool = False
    tie_word_embeddings: bool = False

    def __post_init__(self):
        require(
            self.first_k_dense_replace <= self.num_hidden_layers,
            "first_k_dense_replace",
            self.first_k_dense_replace,
            f"at most num_hidden_layers ({self.num_hidden_layers})",
        )
        needed = ("num_experts_per_tok", "moe_intermediate_size") if self.n_routed_experts else ()
        if self.num_dense_layers:
            needed += ("intermediate_size",)
        if self.latent:
            needed += ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        elif self.head_dim is None:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
            needed += ("head_dim",)
        for name in needed:
            require_whole(name, getattr(self, name))
        if self.n_routed_experts:
            require(
                self.num_experts_per_tok <= self.n_routed_experts,
                "num_experts_per_tok",
                self.num_experts_per_tok,
                f"at most n_routed_experts ({self.n_routed_experts})",
            )

    @property
    def latent(self) -> bool:
        """True with multi-head latent attention."""
        return self.kv_lora_rank is not None

    @property
    def num_moe_layers(self) -> int:
        return self.num_hidden_layers - self.first_k_dense_replace if self.n_routed_experts else 0

    @property
    def num_dense_layers(self) -> int:
        return self.num_hidden_layers - self.num_moe_layers

    def replace(self, **changes) -> "ModelSizes":
        """A copy with some sizes changed; checked like a new one."""
        return dataclasses.replace(self, **changes)


_LATENT = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")


def sizes_of(config: "ModelConfig | ModelSizes") -> ModelSizes:
    """The sizes in a config of ours (or in a record that is one already)."""
    if isinstance(config, ModelSizes):
        return config
    require(
        isinstance(config, ModelConfig),
        "config",
        type(config).__name__,
        "a ModelConfig or ModelSizes",
        TypeError,
    )
    known = {field.name for field in dataclasses.fields(ModelSizes)} - set(_LATENT)
    if getattr(config, "attention", "mha") == "mla":
        known = {*known - {"head_dim"}, *_LATENT}
    return ModelSizes(**{name: getattr(config, name) for name in known if hasattr(config, name)})


@dataclass(frozen=True)
class PublishedModel:
    """One published model.

    total, active            parameters as its authors state them, rounded by them: "236B", "21B"
    active_with_embedding    whether the authors' active figure comes out with the input embedding
                             counted (None: it fits both ways, rounded or cut to its digits)
    sources                  where the sizes and the figures were read
    """

    name: str
    sizes: ModelSizes
    total: str
    active: str
    active_with_embedding: bool | None
    sources: str


_V2_ATTENTION = dict(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
_MODELS = (
    PublishedModel(
        "DeepSeek-V2",
        ModelSizes(
            vocab_size=102_400,
            hidden_size=5120,
            num_hidden_layers=60,
            num_attention_heads=128,
            num_key_value_heads=128,
            n_routed_experts=160,
            num_experts_per_tok=6,
            moe_intermediate_size=1536,
            n_shared_experts=2,
            first_k_dense_replace=1,
            intermediate_size=12_288,
            q_lora_rank=1536,
            **_V2_ATTENTION,
        ),
        "236B",
        "21B",
        None,
        "arXiv 2405.04434, section 3.1.2; dense width and vocabulary: config_236B.json of "
        "the DeepSeek-V3 repository",
    ),
    PublishedModel(
        "DeepSeek-V2-Lite",
        ModelSizes(
            vocab_size=102_400,
            hidden_size=2048,
            num_hidden_layers=27,
            num_attention_heads=16,
            num_key_value_heads=16,
            n_routed_experts=64,
            num_experts_per_tok=6,
            moe_intermediate_size=1408,
            n_shared_experts=2,
            first_k_dense_replace=1,
            intermediate_size=10_944,
            **_V2_ATTENTION,
        ),
        "15.7B",
        "2.4B",
        False,
        "arXiv 2405.04434, appendix B.1; dense width and vocabulary: config_16B.json of the "
        "DeepSeek-V3 repository",
    ),
    PublishedModel(
        "DeepSeek-V3",
        ModelSizes(
            vocab_size=129_280,
            hidden_size=7168,
            num_hidden_layers=61,
            num_attention_heads=128,
            num_key_value_heads=128,
            n_routed_experts=256,
            num_experts_per_tok=8,
            moe_intermediate_size=2048,
            n_shared_experts=1,
            first_k_dense_replace=3,
            intermediate_size=18_432,
            q_lora_rank=1536,
            **_V2_ATTENTION,
        ),
        "671B",
        "37B",
        None,
        "arXiv 2412.19437, section 4.2 (without the multi-token-prediction module); "
        "config_671B.json",
    ),
    PublishedModel(
        "DeepSeekMoE 16B",
        ModelSizes(
            vocab_size=102_400,
            hidden_size=2048,
            num_hidden_layers=28,
            num_attention_heads=16,
            num_key_value_heads=16,
            n_routed_experts=64,
            num_experts_per_tok=6,
            moe_intermediate_size=1408,
            n_shared_experts=2,
            first_k_dense_replace=1,
            intermediate_size=10_944,
        ),
        "16.4B",
        "2.8B",
        True,
        "arXiv 2401.06066, section 5.1.2; widths and vocabulary: the released configuration",
    ),
    PublishedModel(
        "Mixtral 8x7B",
        ModelSizes(
            vocab_size=32_000,
            hidden_size=4096,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            n_routed_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=14_336,
        ),
        "47B",
        "13B",
        None,
        "arXiv 2401.04088, table 1; transformers' MixtralConfig",
    ),
    PublishedModel(
        "OLMoE-1B-7B",
        ModelSizes(
            vocab_size=50_304,
            hidden_size=2048,
            num_hidden_layers=16,
            num_attention_heads=16,
            num_key_value_heads=16,
            n_routed_experts=64,
            num_experts_per_tok=8,
            moe_intermediate_size=1024,
            qk_norm=True,
        ),
        "6.9B",
        "1.3B",
        True,
        "arXiv 2409.02060; the released configuration (transformers' OlmoeConfig has another "
        "expert width by default)",
    ),
    # Without experts: what DeepSeek-V2's authors measure their savings against. Some lists give it
    # 64 key-value heads; only with 8 do the sizes add up to 67B.
    PublishedModel(
        "DeepSeek 67B",
        ModelSizes(
            vocab_size=102_400,
            hidden_size=8192,
            num_hidden_layers=95,
            num_attention_heads=64,
            num_key_value_heads=8,
            intermediate_size=22_016,
        ),
        "67B",
        "67B",
        None,
        "arXiv 2401.02954, table 2; width of the feed-forward layers and vocabulary: the "
        "released configuration",
    ),
)


@checked
def published_names(dense: bool = False) -> list[str]:
    """Names of the models with experts that `published` knows; with `dense` also of those
    without."""
    return [model.name for model in _MODELS if dense or model.sizes.n_routed_experts]


def published(name: str) -> PublishedModel:
    """The record of one model, e.g. `published("DeepSeek-V2")`. ValueError for a name that is not
    listed."""
    for model in _MODELS:
        if model.name == name:
            return model
    raise ValueError(f"name: got {name!r}; wants one of {', '.join(published_names(dense=True))}")
