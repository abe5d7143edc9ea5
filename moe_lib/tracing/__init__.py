"""Seeing what a router does: traces, interventions, readings of a text."""

from moe_lib.tracing.analysis.comparing_readings import (
    Comparison,
    LayerComparison,
    compare_readings,
)
from moe_lib.tracing.capture import trace_generation, trace_routing
from moe_lib.tracing.engines.trace_sources import open_trace
from moe_lib.tracing.engines.writing import to_sglang, to_vllm
from moe_lib.tracing.interventions.changing_k import experts_per_token, largest_k, trained_k
from moe_lib.tracing.interventions.switching_off import experts_off
from moe_lib.tracing.joining import join_traces
from moe_lib.tracing.reading import Change, Prediction, Reading, changed_predictions, read_text
from moe_lib.tracing.replay import LayerReplay, Replay, forced_routing, replay_routing
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.tracing.trace_files import load_trace, save_trace
from moe_lib.tracing.trace_reading import read_trace

__all__ = [
    "Change",
    "Comparison",
    "LayerComparison",
    "LayerReplay",
    "LayerTrace",
    "Prediction",
    "Reading",
    "Replay",
    "RoutingTrace",
    "changed_predictions",
    "compare_readings",
    "experts_off",
    "experts_per_token",
    "forced_routing",
    "join_traces",
    "largest_k",
    "load_trace",
    "open_trace",
    "read_text",
    "read_trace",
    "replay_routing",
    "save_trace",
    "to_sglang",
    "to_vllm",
    "trace_generation",
    "trace_routing",
    "trained_k",
]
