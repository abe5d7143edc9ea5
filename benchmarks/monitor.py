"""What RoutingMonitor costs: a training step of a transformers OLMoE with it and without, in turn.

python -m benchmarks.monitor [--rounds N]

On the GPU if there is one, else the CPU (COURSE_DEVICE overrides). Seconds, on a CPU those of its
one thread, a ratio per round, and their median: 1.03 is three percent of a step.
"""

import argparse
import statistics
import time
import warnings
from contextlib import nullcontext

import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from benchmarks.timing import wait_for_device
from moe_lib import RoutingMonitor, device

# hidden_size, experts, layers, rows, tokens of a row, steps in a round
SIZES = {"tiny": (64, 8, 2, 4, 64, 6), "larger": (256, 16, 4, 8, 128, 1)}


def make_step(hidden: int, experts: int, layers: int, rows: int, length: int):
    """(model, a function that takes one step)."""
    torch.manual_seed(0)
    sizes = dict(vocab_size=2048, hidden_size=hidden, intermediate_size=hidden // 2)
    heads = dict(num_attention_heads=4, num_key_value_heads=4, num_hidden_layers=layers)
    special = dict(eos_token_id=1, pad_token_id=0)
    chosen = dict(num_experts=experts, num_experts_per_tok=2)
    model = OlmoeForCausalLM(OlmoeConfig(**sizes, **heads, **chosen, **special))
    model.to(device()).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(2, 2048, (rows, length)).to(device())
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids)

    def step() -> None:
        model(**batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return model, step


def seconds(step, times: int, beside) -> float:
    clock = time.process_time if device().type == "cpu" else time.perf_counter
    with beside:
        wait_for_device()
        before = clock()
        for _ in range(times):
            step()
        wait_for_device()
        return clock() - before


def measure(name: str, rounds: int) -> dict[str, float]:
    """Median ratio of a step with the monitor to one without: at every step, at every tenth."""
    *sizes, times = SIZES[name]
    model, step = make_step(*sizes)
    step()
    ratios: dict[str, list[float]] = {"every step": [], "every tenth": []}
    for _ in range(rounds):
        alone = seconds(step, times, nullcontext())
        for kind, every in (("every step", 1), ("every tenth", 10)):
            ratios[kind].append(seconds(step, times, RoutingMonitor(model, every=every)) / alone)
    return {kind: statistics.median(found) for kind, found in ratios.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    rounds = parser.parse_args(arguments).rounds
    if rounds < 1:
        parser.error(f"--rounds: got {rounds}; wants at least 1")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # an untrained model without a cure collapses, and is told so
    for name in SIZES:
        found = measure(name, rounds)
        print(f"{name:8s}" + "".join(f"  {kind} {ratio:.3f}" for kind, ratio in found.items()))


if __name__ == "__main__":
    main()
