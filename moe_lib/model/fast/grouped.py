"""Products of many experts at once: each has a block of rows and a matrix of its own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def grouped_linear(x: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    """Rows of x (n, in) come in E blocks of load[e] rows; block e is multiplied by weight[e] (out,
    in) transposed: (n, out)."""
    if torch.compiler.is_compiling():
        return torch.ops.moe_lib.grouped_linear(x, weight, load)
    return _grouped_linear(x, weight, load)


def linear_of_each(x: Tensor, weight: Sequence[Tensor], load: Tensor) -> Tensor:
    """grouped_linear for few rows: a product for every expert that has any."""
    loads = [(expert, rows) for expert, rows in enumerate(load.tolist()) if rows]
    blocks = x.split([rows for _, rows in loads])
    return torch.cat(
        [F.linear(block, weight[expert]) for block, (expert, _) in zip(blocks, loads, strict=True)]
    )


def _grouped_linear(x: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    if _has_grouped_kernel(x, weight):
        return F.grouped_mm(x, weight.transpose(1, 2), offs=load.cumsum(0).to(torch.int32))
    blocks = x.split(load.tolist())
    return torch.cat(
        [block @ matrix.T for block, matrix in zip(blocks, weight.unbind(0), strict=True)]
    )


def _has_grouped_kernel(x: Tensor, weight: Tensor) -> bool:
    """torch's grouped product takes no float64, only bfloat16 on CUDA, and rows of whole 16-byte
    pieces."""
    known_type = x.dtype == torch.bfloat16 or (x.dtype == torch.float32 and not x.is_cuda)
    return known_type and all(width * x.element_size() % 16 == 0 for width in weight.shape[1:])


# torch.compile cannot look into grouped_linear: it believes that torch's grouped product takes
# bfloat16 alone, and the lengths of the blocks are numbers that only a run knows. These two
# operators are closed boxes to it, with the same kernels inside: a compiled model gives what the
# model gives. Rows and weights have gradients, `load` has none.


@torch.library.custom_op("moe_lib::grouped_linear", mutates_args=())
def _opaque(x: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    return _grouped_linear(x, weight, load)


@torch.library.custom_op("moe_lib::grouped_linear_backward", mutates_args=())
def _opaque_backward(
    d_output: Tensor, x: Tensor, weight: Tensor, load: Tensor
) -> tuple[Tensor, Tensor]:
    """What autograd computes for _grouped_linear: blocks of dy W, and dyᵀ x for each matrix."""
    if _has_grouped_kernel(x, weight):
        offs = load.cumsum(0).to(torch.int32)
        d_output = d_output.contiguous()
        return F.grouped_mm(d_output, weight, offs=offs), F.grouped_mm(d_output.T, x, offs=offs)
    blocks = list(zip(d_output.split(load.tolist()), x.split(load.tolist()), weight, strict=True))
    d_weight = torch.stack([d_rows.T @ rows for d_rows, rows, _ in blocks])
    return torch.cat([d_rows @ matrix for d_rows, _, matrix in blocks]), d_weight


@_opaque.register_fake
def _(x: Tensor, weight: Tensor, load: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@_opaque_backward.register_fake
def _(d_output: Tensor, x: Tensor, weight: Tensor, load: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _backward(ctx, d_output: Tensor) -> tuple[Tensor, Tensor, None]:
    return *torch.ops.moe_lib.grouped_linear_backward(d_output, *ctx.saved_tensors), None


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_opaque.register_autograd(_backward, setup_context=_keep)
