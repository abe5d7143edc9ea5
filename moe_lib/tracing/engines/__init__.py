"""Routing that a serving engine returned with its answers, as a RoutingTrace: no model is needed.

`RoutingTrace.from_vllm`, `.from_sglang` and `.from_arrays` are the doors. An engine gives the
numbers of the chosen experts and nothing else: traces made here have no weights and no scores.
"""
