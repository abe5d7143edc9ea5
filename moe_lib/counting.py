"""Parameters, FLOPs and cache bytes of a config, as plain arithmetic: no model is built."""

from dataclasses import dataclass

from moe_lib.config import ModelConfig


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by part. `total` is what must be stored; `active` is what one token passes through.

    `active` counts the chosen and shared experts only and, like DeepSeek's own figures, leaves out the input
    embedding (a look-up costs no arithmetic) unless it is tied and serves as the output layer too.
    """

    embedding: int
    attention: int
    dense_ffn: int
    routed_experts: int
    shared_experts: int
    router: int
    norms: int
    head: int
    active: int

    @property
    def total(self) -> int:
        return (self.embedding + self.attention + self.dense_ffn + self.routed_experts + self.shared_experts
                + self.router + self.norms + self.head)  # fmt: skip

    def as_dict(self) -> dict[str, int]:
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "active"}
        return {**parts, "total": self.total, "active": self.active}


def count_parameters(config: ModelConfig) -> ParameterCount:
    """Exact parameter count of `LanguageModel(config)`."""
    d, layers = config.hidden_size, config.num_hidden_layers
    moe_layers = sum(config.is_moe_layer(layer) for layer in range(layers))
    dense_layers = layers - moe_layers
    expert = 3 * d * config.moe_intermediate_size  # gate, up and down matrices of one SwiGLU

    embedding = config.vocab_size * d
    head = 0 if config.tie_word_embeddings else embedding
    attention = layers * (2 * d * d + 2 * d * config.num_key_value_heads * config.head_dim)
    dense_ffn = dense_layers * 3 * d * config.intermediate_size
    routed = moe_layers * config.n_routed_experts * expert
    chosen = moe_layers * config.num_experts_per_tok * expert
    shared = moe_layers * config.n_shared_experts * expert
    router = moe_layers * config.n_routed_experts * d
    norms = (2 * layers + 1) * d
    active = attention + dense_ffn + chosen + shared + router + norms + embedding  # one vocabulary matrix: the head
    return ParameterCount(embedding, attention, dense_ffn, routed, shared, router, norms, head, active)


def flops_per_token(config: ModelConfig, context: int) -> int:
    """Floating-point operations of one forward pass for one token that sees `context` positions.

    A multiply-add counts as two. Matrices only; norms, softmax and rotations are left out (under 1 percent
    at real sizes). A training step costs about three times as much.
    """
    count = count_parameters(config)
    matrices = count.active - count.norms
    scores_and_mix = 2 * config.num_hidden_layers * config.hidden_size * context
    return 2 * (matrices + scores_and_mix)


def kv_cache_elements_per_token(config: ModelConfig) -> int:
    """Numbers kept per token while generating: keys and values of every layer (DeepSeek-V2, table 1)."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
