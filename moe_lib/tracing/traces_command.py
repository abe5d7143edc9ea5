"""`python -m moe_lib traces esft FOLDER`: published routing, read, counted and kept as traces."""

from pathlib import Path

from moe_lib.tracing.cache_statistics import trace_statistics, write_statistics
from moe_lib.tracing.engines.esft import read_esft_traces
from moe_lib.tracing.trace import RoutingTrace

# ESFT's code and results are under the MIT licence (its file LICENSE-CODE).
SOURCE = {
    "source": "deepseek-ai/ESFT, results/expert_scores (github.com/deepseek-ai/ESFT): routing of "
    "DeepSeek-V2-Lite, layers 1 to 26, six of 64 experts per token",
    "paper": "arXiv 2407.01906",
    "licence": "MIT (LICENSE-CODE of that repository); statistics only, none of its files",
}


def traces_esft(folder: Path, out: Path | None, save: Path | None, num_slots: int) -> str:
    """Read the traces; write what is asked for; say what there is. Raises as `read_esft_traces`."""
    traces = read_esft_traces(folder)
    said = []
    for task, trace in traces.items():
        texts, tokens = len(trace.real), int(trace.real.sum())
        numbers = [layer.index for layer in trace.layers]
        text = f"{task}: {texts} texts, {tokens} tokens, layers {numbers[0]} to {numbers[-1]}"
        said.append(f"{text}; {_fullest(trace)}")
    if save is not None:
        for task, trace in traces.items():
            trace.save(save / f"{task}.safetensors")
        said.append(f"Wrote {len(traces)} traces to {save}.")
    if out is not None:
        slots = "" if num_slots == 16 else f" --num-slots {num_slots}"
        command = f"python -m moe_lib traces esft FOLDER --out {out.name}{slots}"
        about = {"command": command, **SOURCE, "num_slots": num_slots}
        write_statistics(out, {"about": about, "tasks": trace_statistics(traces, num_slots)})
        said.append(f"Wrote {out} ({out.stat().st_size / 1e3:.0f} kB).")
    return "\n".join(said)


def _fullest(trace: RoutingTrace) -> str:
    """Where the load is least even, in words."""
    layers = [(trace.load(layer.index), layer.index) for layer in trace.layers]
    load, index = max(layers, key=lambda one: float(one[0].max() / one[0].sum()))
    share, mean = float(load.max() / load.sum()), 100 / len(load)
    return (
        f"most of one expert: {100 * share:.1f} % of layer {index}'s choices go to expert "
        f"{int(load.argmax())} (evenly: {mean:.1f} %)"
    )
