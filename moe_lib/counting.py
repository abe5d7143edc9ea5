"""Parameters, FLOPs, cache and traffic of a model, as plain arithmetic: no model is built.

Every function takes a `ModelConfig` of ours or the `ModelSizes` of a published model.
"""

from dataclasses import dataclass
from math import prod

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.published import ModelSizes, sizes_of
from moe_lib.validation import Count, Natural, checked

# of weights and of caches; the scales that go with the shorter ones are left out
BYTES_PER_NUMBER = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "6 bits": 0.75,
    "int4": 0.5,
    "4 bits": 0.5,
}


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by part. `total` is what must be stored; `active` is what one token passes
    through.

    `active` counts the chosen and shared experts only and, like DeepSeek-V2's own figures, leaves
    out the input embedding (a look-up costs no arithmetic) unless it is tied and serves as the
    output layer too. Others count it: `active_with_embedding` (DeepSeekMoE 16B, OLMoE).
    """

    embedding: int
    attention: int
    dense_ffn: int
    routed_experts: int
    shared_experts: int
    router: int
    norms: int
    head: int
    chosen_experts: int

    @property
    def total(self) -> int:
        return (
            self.embedding
            + self.attention
            + self.dense_ffn
            + self.routed_experts
            + self.shared_experts
            + self.router
            + self.norms
            + self.head
        )

    @property
    def active_with_embedding(self) -> int:
        return self.total - self.routed_experts + self.chosen_experts

    @property
    def active(self) -> int:
        return self.active_with_embedding - (self.embedding if self.head else 0)

    def dense_twin(self) -> "ParameterCount":
        """The dense model of equal active size: what one token passes through here, every token
        passes there."""
        ffn = self.dense_ffn + self.chosen_experts + self.shared_experts
        return ParameterCount(
            self.embedding, self.attention, ffn, 0, 0, 0, self.norms, self.head, 0
        )

    def as_dict(self) -> dict[str, int]:
        parts = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name != "chosen_experts"
        }
        return {**parts, "total": self.total, "active": self.active}


def count_parameters(config: ModelConfig | ModelSizes) -> ParameterCount:
    """Exact parameter count of `LanguageModel(config)`, or of a published model with these
    sizes."""
    sizes = sizes_of(config)
    d, layers = sizes.hidden_size, sizes.num_hidden_layers
    expert = (
        sizes.num_moe_layers * 3 * d * sizes.moe_intermediate_size
    )  # gate, up, down of a SwiGLU, in all layers
    matrices, inner_norms = _attention_parameters(sizes)
    biases = _biases(config, sizes)
    embedding = sizes.vocab_size * d
    return ParameterCount(
        embedding=embedding,
        attention=layers * (matrices + biases["attention"]),
        dense_ffn=sizes.num_dense_layers * (3 * d * sizes.intermediate_size + biases["dense_ffn"]),
        routed_experts=sizes.n_routed_experts * expert,
        shared_experts=sizes.n_shared_experts * expert
        + sizes.num_moe_layers * biases["shared_experts"],
        router=_router_parameters(config, sizes),
        norms=layers * (2 * d + inner_norms) + d,
        head=0 if sizes.tie_word_embeddings else embedding,
        chosen_experts=sizes.num_experts_per_tok * expert,
    )


def _attention_parameters(sizes: ModelSizes) -> tuple[int, int]:
    """Matrices and norms inside one attention layer."""
    d, heads = sizes.hidden_size, sizes.num_attention_heads
    if not sizes.latent:
        queries, keys = heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
        return 2 * d * queries + 2 * d * keys, queries + keys if sizes.qk_norm else 0
    # DeepSeek-V2, equations 37 to 47: the query goes through a latent of its own, keys and values
    # share one
    query_head = sizes.qk_nope_head_dim + sizes.qk_rope_head_dim
    if sizes.q_lora_rank is None:
        queries, query_norm = d * heads * query_head, 0
    else:
        queries, query_norm = sizes.q_lora_rank * (d + heads * query_head), sizes.q_lora_rank
    down = d * (sizes.kv_lora_rank + sizes.qk_rope_head_dim)
    up = sizes.kv_lora_rank * heads * (sizes.qk_nope_head_dim + sizes.v_head_dim)
    return queries + down + up + heads * sizes.v_head_dim * d, query_norm + sizes.kv_lora_rank


def _biases(config: ModelConfig | ModelSizes, sizes: ModelSizes) -> dict[str, int]:
    """Biases per layer. The published models here have none; a ModelConfig says so by
    attention_bias and mlp_bias."""
    d, attention, dense, shared = sizes.hidden_size, 0, 0, 0
    if getattr(config, "attention_bias", False):  # where x enters a latent, and at the output
        attention = (sizes.q_lora_rank or 0) + sizes.kv_lora_rank + sizes.qk_rope_head_dim + d
    if getattr(
        config, "mlp_bias", False
    ):  # at gate, up and down; a layer without shared experts keeps the last
        dense = 2 * sizes.intermediate_size + d
        shared = 2 * sizes.n_shared_experts * sizes.moe_intermediate_size + d
    return {"attention": attention, "dense_ffn": dense, "shared_experts": shared}


def _router_parameters(config: ModelConfig | ModelSizes, sizes: ModelSizes) -> int:
    """All blocks' routers, as their classes say; a published model's are single matrices."""
    matrix = config.hidden_size, config.n_routed_experts
    if not isinstance(config, ModelConfig):
        return sizes.num_moe_layers * prod(matrix)
    shapes = [router.parameter_shapes(*matrix).values() for router in config.routers.values()]
    return sum(prod(shape) for of_block in shapes for shape in of_block)


@checked
def flops_per_token(config: ModelConfig | ModelSizes, context: Natural) -> int:
    """Floating-point operations of one forward pass for one token that sees `context` positions.

    A multiply-add counts as two. Matrices only; norms, softmax and rotations are left out (under 1
    percent at real sizes). A training step costs about three times as much. Latent attention is
    counted as in a pass over a whole text (keys and values expanded once per token), not as in
    absorbed decoding.
    """
    sizes, count = sizes_of(config), count_parameters(config)
    matrices = count.active - count.norms
    if sizes.latent:
        widths = sizes.qk_nope_head_dim + sizes.qk_rope_head_dim + sizes.v_head_dim
    else:
        widths = 2 * sizes.head_dim
    scores_and_mix = sizes.num_hidden_layers * sizes.num_attention_heads * widths * context
    return 2 * (matrices + scores_and_mix)


def kv_cache_elements_per_token(config: ModelConfig | ModelSizes) -> int:
    """Numbers kept per token while generating, in all layers (DeepSeek-V2, table 1).

    Keys and values, or with latent attention the latent and the one rotary key that all heads
    share.
    """
    sizes = sizes_of(config)
    per_layer = (
        sizes.kv_lora_rank + sizes.qk_rope_head_dim
        if sizes.latent
        else 2 * sizes.num_key_value_heads * sizes.head_dim
    )
    return sizes.num_hidden_layers * per_layer


@checked
def expected_distinct_experts(
    n_experts: Count, experts_per_token: Natural, tokens: Natural
) -> float:
    """E · (1 − (1 − k/E)^tokens): experts of one layer that at least one of `tokens` tokens
    chooses, on average.

    True if tokens choose independently and all experts are equally likely. Real routing is skewed
    and neighbouring tokens are alike, so that a real batch touches fewer.
    """
    require(
        experts_per_token <= n_experts,
        "experts_per_token",
        experts_per_token,
        f"at most n_experts ({n_experts})",
    )
    return n_experts * (1 - (1 - experts_per_token / n_experts) ** tokens)


@checked
def parameters_read(config: ModelConfig | ModelSizes, tokens: Natural) -> float:
    """Parameters that one step over a batch of `tokens` tokens must fetch from memory, on average.

    Everything but experts once per step, whatever the batch; of the routed experts those that the
    batch touches (`expected_distinct_experts`). The input embedding is left out: of its rows a
    batch reads only its own tokens'.
    """
    count = count_parameters(config)
    fixed = count.active - count.chosen_experts
    if not config.n_routed_experts:
        return fixed
    touched = expected_distinct_experts(config.n_routed_experts, config.num_experts_per_tok, tokens)
    return fixed + count.routed_experts * touched / config.n_routed_experts
