"""A trace out of a file: one that was saved, or the answers of a serving engine."""

from pathlib import Path

from moe_lib.errors import require
from moe_lib.tracing.engines.responses import engine_of, require_names
from moe_lib.tracing.engines.sglang import trace_from_sglang
from moe_lib.tracing.engines.vllm import trace_from_vllm
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.tracing.trace_files import load_trace
from moe_lib.validation import Count, PathLike, checked


@checked
def open_trace(
    path: PathLike,
    *,
    n_layers: Count | None = None,
    k: Count | None = None,
    n_experts: Count | None = None,
    config=None,
    tokenizer=None,
) -> RoutingTrace:
    """The trace in a .safetensors file (or a folder with trace.safetensors), or in a .json or
    .jsonl file of answers of vLLM or SGLang, which are told apart by their fields.

    What the answers do not say may be given: see `RoutingTrace.from_sglang`. Raises
    FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    path = Path(path)
    if path.suffix not in (".json", ".jsonl"):
        given = {"n_layers": n_layers, "k": k, "n_experts": n_experts, "config": config}
        for name, value in given.items():
            require(value is None, name, value, f"None: {path.name} says it itself")
        require_names(tokenizer)
        return load_trace(path)
    facts = {"n_experts": n_experts, "config": config, "tokenizer": tokenizer}
    read = trace_from_sglang if engine_of(path) == "sglang" else trace_from_vllm
    return read(path, n_layers=n_layers, k=k, **facts)
