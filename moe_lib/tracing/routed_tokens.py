"""Which tokens of a trace have experts: all, but the last that a serving engine wrote."""

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.trace import LayerTrace, RoutingTrace


def routed_tokens(trace: RoutingTrace, layer: LayerTrace) -> Tensor:
    """(batch, sequence) bool: real tokens with all k experts of `layer`.

    The last token of a text may have none: an engine wrote it and never read it. Raises ValueError
    for any other token with fewer than k.
    """
    choices = layer.choices(trace.real)
    routed = choices.all(-1)
    last = trace.real & (trace.real.flip(1).cumsum(1).flip(1) == 1)
    unread = last & ~choices.any(-1)
    fits = torch.equal(routed | unread, trace.real)
    got = f"layer {layer.index}, tokens with fewer than k experts"
    require(fits, "trace", got, "k experts for each token")
    return routed
