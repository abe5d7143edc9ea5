"""Traces of one model as one batch."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_lib.errors import require
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.validation import checked


@checked
def join_traces(traces: Sequence[RoutingTrace]) -> RoutingTrace:
    """Traces of the same model as one batch, see `RoutingTrace.join`."""
    require(len(traces) > 0, "traces", "none", "at least one RoutingTrace")
    first, longest = traces[0], max(trace.input_ids.shape[1] for trace in traces)
    for trace in traces[1:]:
        same = _outline(trace) == _outline(first)
        require(
            same,
            "traces",
            _outline(trace),
            f"the layers of the first one, (name, E, k): {_outline(first)}",
        )
    named = {trace.domains is not None for trace in traces}
    require(
        len(named) == 1,
        "traces",
        "domains in some of them only",
        "domains in all of them or in none",
    )
    return replace(
        first,
        layers=[
            _join_layers([trace.layers[i] for trace in traces], longest)
            for i in range(len(first.layers))
        ],
        input_ids=_stack((trace.input_ids for trace in traces), longest),
        real=_stack((trace.real for trace in traces), longest),
        domains=first.domains and tuple(domain for trace in traces for domain in trace.domains),
        attention_layers=tuple(
            _join_layers([trace.attention_layers[i] for trace in traces], longest)
            for i in range(len(first.attention_layers))
        ),
    )


def _outline(trace: RoutingTrace) -> list[tuple[str, int, int]]:
    return [
        (part.name, part.n_experts, part.experts.shape[-1])
        for part in (*trace.layers, *trace.attention_layers)
    ]


def _join_layers(parts: list[LayerTrace], longest: int) -> LayerTrace:
    names = {
        name for part in parts for name in part.tensors()
    }  # kept or chosen may be missing in some: all True
    whole = [
        {
            **{name: torch.ones(part.experts.shape, dtype=torch.bool) for name in names},
            **part.tensors(),
        }
        for part in parts
    ]
    return replace(
        parts[0], **{name: _stack((part[name] for part in whole), longest) for name in names}
    )


def _stack(tensors: Iterable[Tensor], longest: int) -> Tensor:
    """Batches one below the other, (batch, sequence, …), each filled up with zeros to the longest
    sequence."""
    filled = [F.pad(t, (0, 0) * (t.dim() - 2) + (0, longest - t.shape[1])) for t in tensors]
    return torch.cat(filled)
