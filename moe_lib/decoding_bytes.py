"""Bytes that decoding reads: every step fetches weights and caches from memory, and on most
machines that, not arithmetic, is what takes its time.

A step writes one token for each of `batch` requests. What all tokens share is read once per step,
whatever the batch; of the routed experts those that the batch touches; the cache of each request by
itself. Plain arithmetic, as in `moe_lib.counting`: no model is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from moe_lib.config import ModelConfig
from moe_lib.counting import (
    BYTES_PER_NUMBER,
    count_parameters,
    expected_distinct_experts,
    kv_cache_elements_per_token,
)
from moe_lib.errors import require, require_one_of
from moe_lib.published import ModelSizes, sizes_of
from moe_lib.validation import Count, Flag, Natural, NonNegative, checked

CACHES = ("own", "expanded")


@dataclass(frozen=True)
class DecodingBytes:
    """Bytes that one step reads.

    batch, context  tokens written by the step, and positions that each of them attends to
    distinct        experts of one MoE layer that the batch touches, on average (0 without experts)
    shared          attention, norms, dense and shared feed-forward layers, routers, output matrix
    experts         the routed experts touched; cache: keys and values, or latents, of all requests
    """

    batch: int
    context: int
    distinct: float
    shared: float
    experts: float
    cache: float

    @property
    def step(self) -> float:
        return self.shared + self.experts + self.cache

    @property
    def per_token(self) -> float:
        """Of one step, for each of its tokens."""
        return self.step / self.batch


@checked
def decoding_bytes(
    config: ModelConfig | ModelSizes,
    batch: Count = 1,
    context: Natural = 0,
    *,
    distinct: NonNegative | None = None,
    cache: str = "own",
    as_dense: Flag = False,
    weights: str = "bf16",
    cached: str = "bf16",
) -> DecodingBytes:
    """Bytes read by one decoding step of `batch` requests with `context` positions each.

    config    ours, or the sizes of a published model (`moe_lib.published`)
    distinct  experts of a layer that the batch touches, from a trace
              (`moe_lib.tracing.cache_controls.distinct_experts`); None:
              E · (1 − (1 − k/E)^batch), as if tokens chose independently and all experts were
              equally likely
    cache     "own": as the model keeps it; "expanded": with latent attention, the keys and values
              of all heads, as if each were kept (qk_nope + qk_rope + v_head_dim numbers per head)
    as_dense  the dense model of equal active size: every token passes its k experts' worth of
              weights, and so does a batch
    weights, cached  types of the numbers, of `moe_lib.counting.BYTES_PER_NUMBER`

    The rows of the input embedding are left out, and activations, which are small. Raises
    ValueError for more distinct experts than the model has or the batch can choose.
    """
    for name, given in (("weights", weights), ("cached", cached)):
        require_one_of(name, given, BYTES_PER_NUMBER)
    require_one_of("cache", cache, CACHES)
    sizes, count = sizes_of(config), count_parameters(config)
    n_experts, k = sizes.n_routed_experts, sizes.num_experts_per_tok
    shared = count.active - count.chosen_experts
    touched, experts = 0.0, 0.0
    if as_dense or not n_experts:
        require(distinct is None, "distinct", distinct, "None for a dense model")
        shared = count.active
    else:
        uniform = expected_distinct_experts(n_experts, k, batch)
        touched = uniform if distinct is None else float(distinct)
        wants = f"from {k} to {min(n_experts, k * batch)}"
        require(k - 1e-6 <= touched <= min(n_experts, k * batch) + 1e-6, "distinct", touched, wants)
        experts = count.routed_experts * touched / n_experts
    kept = batch * context * _cached_numbers(sizes, cache) * BYTES_PER_NUMBER[cached]
    size = BYTES_PER_NUMBER[weights]
    return DecodingBytes(batch, context, touched, shared * size, experts * size, kept)


@checked
def decoding_table(
    config: ModelConfig | ModelSizes,
    batches: Sequence[Count] = (1, 4, 16, 64, 256),
    context: Natural = 0,
    **settings,
) -> list[DecodingBytes]:
    """`decoding_bytes` at several batch sizes; settings as there, but for `distinct`."""
    require("distinct" not in settings, "distinct", "one number", "decoding_bytes, a batch a call")
    return [decoding_bytes(config, batch, context, **settings) for batch in batches]


def _cached_numbers(sizes: ModelSizes, cache: str) -> int:
    """Numbers kept per position, in all layers."""
    if cache == "own" or not sizes.latent:
        return kv_cache_elements_per_token(sizes)
    head = sizes.qk_nope_head_dim + sizes.qk_rope_head_dim + sizes.v_head_dim
    return sizes.num_hidden_layers * sizes.num_attention_heads * head
