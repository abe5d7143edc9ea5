"""Designs with another router in the first blocks: a table of token ids first, learned after."""

from moe_lib.config import ModelConfig
from moe_lib.errors import require
from moe_lib.validation import Natural, checked

# What DeepSeek-V4 has in its other blocks: affinities by the root of a softplus, a selection bias.
V4_ROUTER = dict(
    router="biased_topk",
    scoring_func="sqrtsoftplus",
    norm_topk_prob=True,
    routed_scaling_factor=1.5,
)


@checked
def hash_first(config: ModelConfig, blocks: Natural = 1) -> ModelConfig:
    """The same model whose first `blocks` blocks with experts look them up by token id, as the
    first three of DeepSeek-V4 do; 0: none does. ValueError for more blocks than there are."""
    dense, layers = config.first_k_dense_replace, config.num_hidden_layers
    mixtures = layers - dense if config.n_routed_experts else 0
    require(blocks <= mixtures, "blocks", blocks, f"at most {mixtures}, the blocks with experts")
    kinds = ["dense"] * (layers - mixtures) + ["hash_moe"] * blocks + ["moe"] * (mixtures - blocks)
    return config.replace(mlp_layer_types=kinds)
