"""Whole numbers of a few bits, packed into bytes without gaps."""

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.validation import Choice, Natural, checked, require_tensor

WIDTHS = (8, 4, 3, 2)  # bits


@checked
def pack_bits(numbers: Tensor, bits: Choice(*WIDTHS)) -> Tensor:
    """numbers (n,) uint8, each below 2^bits -> (⌈n · bits / 8⌉,) uint8, the first number in the
    lowest bits. ValueError or TypeError for others."""
    require_tensor("numbers", numbers, ("n",), torch.uint8, high=2**bits - 1)
    each = torch.arange(bits, device=numbers.device, dtype=torch.uint8)
    stream = ((numbers[:, None] >> each) & 1).flatten()  # (n · bits,)
    stream = torch.nn.functional.pad(stream, (0, -len(stream) % 8)).view(-1, 8)
    worth = 2 ** torch.arange(8, device=numbers.device)
    return (stream * worth).sum(1).to(torch.uint8)


@checked
def unpack_bits(packed: Tensor, bits: Choice(*WIDTHS), n: Natural) -> Tensor:
    """What `pack_bits` was given: (n,) uint8. ValueError for a `packed` of another length."""
    require_tensor("packed", packed, ("bytes",), torch.uint8)
    needed = -(-n * bits // 8)
    require(
        len(packed) == needed,
        "packed",
        f"{len(packed)} bytes",
        f"{needed} for {n} numbers of {bits} bits",
    )
    each = torch.arange(8, device=packed.device, dtype=torch.uint8)
    stream = ((packed[:, None] >> each) & 1).flatten()[: n * bits].view(n, bits)
    worth = 2 ** torch.arange(bits, device=packed.device)
    return (stream * worth).sum(1).to(torch.uint8)
