"""Seeing what a router does: traces, interventions, readings of a text."""

from moe_lib.tracing.capture import trace_routing
from moe_lib.tracing.intervene import experts_off
from moe_lib.tracing.reading import Change, Prediction, Reading, changed_predictions, read_text
from moe_lib.tracing.trace import LayerTrace, RoutingTrace

__all__ = ["Change", "LayerTrace", "Prediction", "Reading", "RoutingTrace", "changed_predictions", "experts_off",
           "read_text", "trace_routing"]  # fmt: skip
