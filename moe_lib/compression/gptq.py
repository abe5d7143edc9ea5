"""Rounding that looks at the data (GPTQ; Frantar et al. 2023, arXiv 2210.17323).

A weight W (out, in) is rounded column by column. What a column's rounding adds to the output is
taken back, as well as it can be, by the columns that are still to come: with the inputs x of the
matrix, H = Σ x xᵀ + damping, and U the upper Cholesky factor of H⁻¹,

    W[:, j+1:] -= (W[:, j] − rounded) / U[j, j] · U[j, j+1:]

A group's scale and zero are taken when its first column is reached, from the weights as they are
then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_lib.compression.bit_packing import WIDTHS, pack_bits
from moe_lib.compression.expert_layers import expert_layers
from moe_lib.compression.expert_scores import each_pass
from moe_lib.compression.rounding import QuantisedWeight, group_of, range_of
from moe_lib.errors import require
from moe_lib.model import Routing
from moe_lib.modules import bare
from moe_lib.tracing.traced_inputs import check_ids
from moe_lib.validation import Choice, Count, checked, require_tensor

DAMPING = 0.01  # of the mean of H's diagonal, as in the paper


@checked
@torch.no_grad()
def gptq_weight(
    weight: Tensor, squares: Tensor, bits: Choice(*WIDTHS), group_size: Count = 32
) -> QuantisedWeight:
    """weight (out, in), squares (in, in): Σ x xᵀ over the inputs of the matrix -> what
    `quantise_weight` gives, with less error on such inputs. ValueError as there."""
    require_tensor("weight", weight, ("out", "in"), "floating", finite=True)
    require_tensor("squares", squares, (weight.shape[1],) * 2, "floating", finite=True)
    size = group_of(weight, group_size)
    w = weight.detach().double().clone()
    h = squares.detach().double().clone()
    mean = float(h.diagonal().mean())
    h.diagonal().add_(DAMPING * mean if mean > 0 else 1.0)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    numbers, scales, zeros = torch.empty_like(w), [], []
    for j in range(w.shape[1]):
        if j % size == 0:
            scale, zero = range_of(w[:, j : j + size].float(), bits)  # (out,) float16 each
            scales.append(scale)
            zeros.append(zero)
        step, middle = scale.double(), zero.double()
        numbers[:, j] = (w[:, j] / step + middle).round().clamp(0, 2**bits - 1)
        error = (w[:, j] - (numbers[:, j] - middle) * step) / upper[j, j]  # (out,)
        w[:, j + 1 :] -= error[:, None] * upper[j, j + 1 :]
    packed = pack_bits(numbers.to(torch.uint8).flatten(), bits)
    groups = (torch.stack(part, dim=1).flatten() for part in (scales, zeros))  # (out, in / size)
    return QuantisedWeight(packed, *groups, tuple(weight.shape), bits, size)


@checked
@torch.no_grad()
def input_squares(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> dict[str, Tensor]:
    """{name of a weight in the state dict: Σ x xᵀ over what it is multiplied by while `model` reads
    input_ids (batch, sequence)}: (in, in) float64, of an expert's weights (E, in, in).

    Matrices without a product of their own in this pass (an embedding, what latent attention
    absorbs) are left out, but for a tied head: its inputs count for the embedding. Padding counts
    for nothing in the experts and routers. Raises as `expert_scores`.
    """
    layers, model = expert_layers(model), bare(model)
    check_ids(model, input_ids, attention_mask)
    squares: dict[str, Tensor] = {}

    def add(name: str, x: Tensor) -> None:
        x = x.reshape(-1, x.shape[-1]).double()
        squares[name] = squares.get(name, 0) + x.T @ x

    def see(index: int, x: Tensor, routing: Routing, real: Tensor) -> None:
        name = f"layers.{index}.feed_forward."
        add(f"{name}router.weight", x[real])
        experts, x = layers[index].experts, x.double()
        gate_up_proj = experts.gate_up_proj.double()
        parts = []
        for e in range(routing.n_experts):
            chosen = ((routing.experts == e) & routing.kept).any(1) & real
            gate, up = (x[chosen] @ gate_up_proj[e].T).chunk(2, dim=-1)
            hidden = F.silu(gate) * up  # (n, I)
            parts.append((x[chosen].T @ x[chosen], hidden.T @ hidden))
        for part, found in zip(
            ("gate_up_proj", "down_proj"), zip(*parts, strict=True), strict=True
        ):
            place = f"{name}experts.{part}"
            squares[place] = squares.get(place, 0) + torch.stack(found)

    with _linear_inputs(model, add):
        each_pass(model, layers, input_ids, attention_mask, see)
    if model.config.tie_word_embeddings:
        squares["embedding.weight"] = squares.pop("head.weight")
    return squares


@contextmanager
def _linear_inputs(model: nn.Module, add: Callable[[str, Tensor], None]) -> Iterator[None]:
    linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}

    def hook(name: str):
        return lambda module, args: add(f"{name}.weight", args[0])

    handles = [part.register_forward_pre_hook(hook(name)) for name, part in linear.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gptq_stack(weight: Tensor, squares: Tensor, bits: int, group_size: int) -> QuantisedWeight:
    """`gptq_weight` of a matrix, or of each of a stack (E, out, in) with squares (E, in, in)."""
    if weight.dim() == 2:
        return gptq_weight(weight, squares, bits, group_size)
    each = [gptq_weight(*two, bits, group_size) for two in zip(weight, squares, strict=True)]
    whole = [one.packed for one in each]
    fits = weight[0].numel() * bits % 8 == 0
    require(fits, "weight", tuple(weight.shape), "experts that fill whole bytes")
    groups = (torch.cat([getattr(one, name) for one in each]) for name in ("scale", "zero"))
    return QuantisedWeight(torch.cat(whole), *groups, tuple(weight.shape), bits, each[0].group_size)
