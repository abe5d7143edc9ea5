"""What the cache calculator shows, as one record: the cache of one model with four kinds of
attention, in bytes."""

from dataclasses import dataclass, replace

from moe_lib.counting import BYTES_PER_NUMBER
from moe_lib.errors import require, require_whole
from moe_lib.published import ModelSizes

KINDS = ("MHA", "GQA", "MQA", "MLA")
PRECISIONS = ("fp32", "bf16", "fp8", "6 bits", "4 bits")
GB = 10**9
LARGEST = 2**40  # of sizes: no model comes near, and the products stay numbers


@dataclass(frozen=True)
class CacheSizes:
    """What decides how much attention keeps of a token, whatever its kind.

    num_key_value_heads   groups of the GQA: as many heads keep keys and values
    kv_lora_rank          numbers in the latent of the MLA
    qk_rope_head_dim      numbers in its one rotary key

    ValueError or TypeError names a size that cannot be.
    """

    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    num_key_value_heads: int
    kv_lora_rank: int
    qk_rope_head_dim: int

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            require_whole(name, getattr(self, name), at_most=LARGEST)
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            "num_key_value_heads",
            self.num_key_value_heads,
            f"a divisor of num_attention_heads ({self.num_attention_heads})",
        )

    def replace(self, **changes) -> "CacheSizes":
        """A copy with some sizes changed; checked like a new one."""
        return replace(self, **changes)

    def per_layer(self, kind: str) -> int:
        """Numbers kept of one token in one layer (DeepSeek-V2, table 1)."""
        require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
        if kind == "MLA":
            return self.kv_lora_rank + self.qk_rope_head_dim
        heads = {"MHA": self.num_attention_heads, "GQA": self.num_key_value_heads, "MQA": 1}[kind]
        return 2 * heads * self.head_dim

    def per_token(self, kind: str) -> int:
        """Numbers kept of one token in all layers."""
        return self.num_hidden_layers * self.per_layer(kind)


def kind_of(sizes: ModelSizes) -> str:
    """The kind of attention that a published model has."""
    if sizes.latent:
        return "MLA"
    return {1: "MQA", sizes.num_attention_heads: "MHA"}.get(sizes.num_key_value_heads, "GQA")


def cache_sizes_of(sizes: ModelSizes) -> CacheSizes:
    """The cache sizes of a published model; what its own kind of attention lacks is filled in.

    Groups: 8, or half the heads where they are 8 or fewer. Latent and rotary key: DeepSeek-V2's
    proportions, four heads' numbers and half a head's. Head size of a model with MLA: that of its
    values.
    """
    heads = sizes.num_attention_heads
    head_dim = sizes.v_head_dim if sizes.latent else sizes.head_dim
    groups = sizes.num_key_value_heads if kind_of(sizes) == "GQA" else _usual_groups(heads)
    latent = (
        (sizes.kv_lora_rank, sizes.qk_rope_head_dim)
        if sizes.latent
        else (4 * head_dim, max(1, head_dim // 2))
    )
    return CacheSizes(sizes.num_hidden_layers, heads, head_dim, groups, *latent)


def _usual_groups(heads: int) -> int:
    """8, or the largest divisor of `heads` below both it and 9; 1 for a single head."""
    return max(
        groups for groups in range(1, 9) if heads % groups == 0 and (groups < heads or heads == 1)
    )


@dataclass(frozen=True)
class CacheAccount:
    """Per kind of attention: numbers per token and layer, bytes per token, bytes of the whole
    batch, and how many sequences of this length fit into the memory."""

    per_layer: dict[str, int]
    token_bytes: dict[str, float]
    total_bytes: dict[str, float]
    fitting: dict[str, int]


def cache_account(
    sizes: CacheSizes, context: int, batch_size: int, precision: str, memory: int
) -> CacheAccount:
    """The account of `batch_size` sequences of `context` tokens; `memory` in GB (10^9 bytes) is for
    the cache alone.

    ValueError or TypeError names the argument that cannot be.
    """
    for name, value in (("context", context), ("batch_size", batch_size), ("memory", memory)):
        require_whole(name, value, at_most=LARGEST)
    require(
        isinstance(precision, str) and precision in PRECISIONS,
        "precision",
        precision,
        f"one of {', '.join(PRECISIONS)}",
    )
    token = {kind: BYTES_PER_NUMBER[precision] * sizes.per_token(kind) for kind in KINDS}
    return CacheAccount(
        per_layer={kind: sizes.per_layer(kind) for kind in KINDS},
        token_bytes=token,
        total_bytes={kind: context * batch_size * size for kind, size in token.items()},
        fitting={kind: int(memory * GB // (context * size)) for kind, size in token.items()},
    )
