"""What the parameter explorer shows, as one record: parameters by part, FLOPs per token, bytes read
per step."""

from dataclasses import dataclass

from moe_lib.counting import (
    BYTES_PER_NUMBER,
    ParameterCount,
    count_parameters,
    expected_distinct_experts,
    flops_per_token,
    parameters_read,
)
from moe_lib.errors import require, require_whole
from moe_lib.published import ModelSizes

PRECISIONS = ("bf16", "fp8", "int4")
CONTEXT = 4096  # positions that the attention of the counted token sees
BATCHES = tuple(2**n for n in range(14))  # of the curve and of the slider: 1 to 8192 tokens
PARTS = {  # name -> its fields of ParameterCount; a stacked bar in this order
    "embedding and head": ("embedding", "head"),
    "attention and norms": ("attention", "norms"),
    "dense layers": ("dense_ffn",),
    "shared experts and routers": ("shared_experts", "router"),
    "routed experts": ("routed_experts",),
}


@dataclass(frozen=True)
class ParameterAccount:
    """stored, used: part -> parameters kept in memory, and passed through by one token (no input
    embedding).

    flops        floating-point operations of a forward pass per token that sees CONTEXT positions
    bytes_read   weights read by one step over the batch, on average; `bytes_stored` is all of them
    distinct     expected number of different experts per layer that the batch chooses
    curve        the same for every batch size of BATCHES
    dense_…      the same of a dense model of equal active size; all_flops: of this model with every
                 expert on
    """

    count: ParameterCount
    dense_total: int
    stored: dict[str, int]
    used: dict[str, int]
    flops: int
    dense_flops: int
    all_flops: int
    bytes_read: float
    dense_bytes_read: float
    bytes_stored: float
    dense_bytes_stored: float
    distinct: float
    curve: tuple[float, ...]


def account_of(sizes: ModelSizes, batch_size: int, precision: str) -> ParameterAccount:
    """The account of one model with experts. ValueError or TypeError names the argument that cannot
    be."""
    require_whole("batch_size", batch_size, at_most=2**40)
    require(
        isinstance(precision, str) and precision in PRECISIONS,
        "precision",
        precision,
        f"one of {', '.join(PRECISIONS)}",
    )
    require(sizes.n_routed_experts > 0, "sizes", "no experts", "n_routed_experts of at least 1")
    count, size = count_parameters(sizes), BYTES_PER_NUMBER[precision]
    experts, k, twin = sizes.n_routed_experts, sizes.num_experts_per_tok, count.dense_twin()
    stored = {
        part: sum(getattr(count, field) for field in fields) for part, fields in PARTS.items()
    }
    looked_up = count.embedding if count.head else 0  # a tied embedding is the output layer too
    used = stored | {
        "routed experts": count.chosen_experts,
        "embedding and head": stored["embedding and head"] - looked_up,
    }
    flops = flops_per_token(sizes, CONTEXT)
    return ParameterAccount(
        count=count,
        dense_total=twin.total,
        stored=stored,
        used=used,
        flops=flops,
        dense_flops=flops - 2 * count.router,
        all_flops=flops_per_token(sizes.replace(num_experts_per_tok=experts), CONTEXT),
        bytes_read=size * parameters_read(sizes, batch_size),
        dense_bytes_read=size * twin.active,
        bytes_stored=size * count.total,
        dense_bytes_stored=size * twin.total,
        distinct=expected_distinct_experts(experts, k, batch_size),
        curve=tuple(expected_distinct_experts(experts, k, tokens) for tokens in BATCHES),
    )


def amount(number: float) -> str:
    """235_741_434_880 -> "235.7B"; three or four digits and a letter."""
    for letter, unit in (("P", 1e15), ("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= unit * 0.9995:
            return (
                f"{number / unit:.3g}{letter}"
                if number < 99.95 * unit
                else f"{number / unit:.1f}{letter}"
            )
    return f"{number:.0f}"


def operations(number: float) -> str:
    """42_000_000_000 -> "42 GFLOPs" """
    return _with_unit(number, "FLOPs")


def size_words(number: float) -> str:
    """471_482_869_760 -> "471 GB" (decimal units)"""
    return _with_unit(number, "B")


def _with_unit(number: float, unit: str) -> str:
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor * 0.9995:
            value = number / factor
            return f"{value:.0f} {prefix}{unit}" if value >= 99.5 else f"{value:.3g} {prefix}{unit}"
    return f"{number:.0f} {unit}"
