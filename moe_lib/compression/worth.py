"""When speculation pays, and what multi-token prediction brings, as plain arithmetic."""

from dataclasses import dataclass

from moe_lib.config import ModelConfig
from moe_lib.counting import count_parameters, expected_distinct_experts
from moe_lib.errors import require
from moe_lib.published import ModelSizes, published, sizes_of
from moe_lib.validation import Count, Natural, NonNegative, Positive, Share, checked


@checked
def expected_tokens(acceptance: Share, window: Natural) -> float:
    """New tokens per pass of the model: Σ acceptance^i for i from 0 to `window` (Leviathan et al.
    2023, eq. 1), if every guess is kept with the same chance."""
    return float(sum(acceptance**i for i in range(window + 1)))


@checked
def speed_up(
    acceptance: Share, window: Natural, draft_cost: NonNegative, window_cost: Positive = 1.0
) -> float:
    """How many times as fast as plain decoding (above 1 it pays): expected tokens over the time of
    `window` steps of the draft and one pass over window + 1 tokens, both in steps of the model
    alone. window_cost 1 is Leviathan's theorem 3.8: reading several tokens costs as much as one."""
    return expected_tokens(acceptance, window) / (window * draft_cost + window_cost)


@checked
def window_bytes(
    config: ModelConfig | ModelSizes, tokens: Count, distinct: NonNegative | None = None
) -> float:
    """Parameters that a pass over `tokens` tokens reads, over those that one token reads: the
    `window_cost` of a decoder that waits for its memory.

    distinct  different experts in a layer of such a pass, as measured; None: the number that tokens
              without anything in common would touch. ValueError for more than there are.

    1 for a dense model: it reads everything for one token, too. An MoE reads more experts.
    """
    sizes, count = sizes_of(config), count_parameters(config)
    fixed = count.active - count.chosen_experts
    if not sizes.n_routed_experts:
        return 1.0
    if distinct is None:
        each = sizes.n_routed_experts, sizes.num_experts_per_tok
        distinct = expected_distinct_experts(*each, tokens)
    wants = f"at most the {sizes.n_routed_experts} experts of a layer"
    require(distinct <= sizes.n_routed_experts, "distinct", distinct, wants)
    share = count.routed_experts / sizes.n_routed_experts  # of one expert of every layer
    return (fixed + share * distinct) / count.active


@dataclass(frozen=True)
class MultiTokenModule:
    """One multi-token-prediction module of DeepSeek-V3 (report 2.2), counted from its sizes.

    block       parameters of its block with experts: 11.5B, as README_WEIGHTS.md of the V3
                repository says
    projection  of the matrix from 2 · hidden to hidden before it, and of three norms
    active      what one guess passes through in the block, and embedding and head, which are the
                model's own: 2.4B, as there; the projection comes on top
    model       parameters of the model itself
    """

    block: int
    projection: int
    active: int
    model: int

    @property
    def cost(self) -> float:
        """A guess, in passes of the model for one token, by the parameters read."""
        whole = count_parameters(published("DeepSeek-V3").sizes).active_with_embedding
        return (self.active + self.projection) / whole


def deepseek_v3_module() -> MultiTokenModule:
    """The module that DeepSeek-V3 was released with: one block more, read once per guess."""
    sizes = published("DeepSeek-V3").sizes
    full = count_parameters(sizes)
    fewer = count_parameters(sizes.replace(num_hidden_layers=sizes.num_hidden_layers - 1))
    projection = 2 * sizes.hidden_size * sizes.hidden_size + 3 * sizes.hidden_size
    active = full.active - fewer.active + full.embedding + full.head
    return MultiTokenModule(full.total - fewer.total, projection, active, full.total)
