"""`LanguageModel.generate` against transformers' `generate`: same weights, same prompts, same
greedy tokens.

    python -m benchmarks.generation [--quick] [--threads N] [--device DEVICE] [--seconds S]
        [--only CONFIG] [--out FOLDER]

A prompt of random ids, then 64 new tokens, likeliest first, with a cache. transformers runs experts
in three ways ("eager", "grouped_mm", "batched_mm"); each is a competitor of its own, and what
counts is the fastest. Its `generate` gets what spares it work: an attention mask, a pad_token_id,
no end token to look for.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.generation_cases import CONFIGS, OURS, QUICK, make_models
from benchmarks.timing import (
    RESULTS,
    add_device,
    chosen_devices,
    interleave,
    machine,
    save,
    summarise,
)
from moe_lib import ModelConfig

REQUESTS = [(1, 16), (1, 128), (8, 16), (8, 128)]  # batch, tokens of the prompt
NEW_TOKENS = 64


def make_writers(
    models: dict[str, nn.Module], input_ids: Tensor, new: int
) -> dict[str, Callable[[], Tensor]]:
    """Competitor -> a function that continues input_ids (batch, prompt) -> (batch, prompt +
    new)."""
    mask = torch.ones_like(input_ids)
    settings = dict(max_new_tokens=new, do_sample=False, use_cache=True, pad_token_id=0)
    writers = {
        name: lambda model=model: model.generate(input_ids, attention_mask=mask, **settings)
        for name, model in models.items()
        if name != OURS
    }
    return {OURS: lambda: models[OURS].generate(input_ids, new), **writers}


def check_equal(writers: dict[str, Callable[[], Tensor]]) -> Tensor:
    """What all of them write. AssertionError if one writes something else."""
    written = {name: write() for name, write in writers.items()}
    for name, text in written.items():
        assert torch.equal(text, written[OURS]), f"{name} writes other tokens than ours"
    return written[OURS]


def measure(
    name: str, models: dict[str, nn.Module], batch: int, prompt: int, new: int, seconds: float
) -> list[dict]:
    """One row per competitor: time of one `generate` where the models are, and its ratio to ours
    with the quartiles over the rounds."""
    vocab_size, device = models[OURS].config.vocab_size, models[OURS].device
    input_ids = torch.randint(
        vocab_size, (batch, prompt), generator=torch.Generator().manual_seed(1)
    ).to(device)
    writers = make_writers(models, input_ids, new)
    text = check_equal(writers)
    taken = interleave(writers, seconds=seconds, rounds=(5, 40))
    summary = summarise(taken, OURS)
    rows = []
    for competitor, numbers in summary.items():
        low, _, high = statistics.quantiles(
            [theirs / ours for theirs, ours in zip(taken[competitor], taken[OURS], strict=True)],
            n=4,
        )
        rows.append(
            {
                "config": name,
                "batch": batch,
                "prompt": prompt,
                "new": new,
                "competitor": competitor,
                **numbers,
                "ratio_low": round(low, 3),
                "ratio_high": round(high, 3),
                "tokens_per_second": round(1e3 * batch * new / numbers["median_ms"]),
                "distinct_tokens": len(text[:, prompt:].unique()),
                "device": device.type,
                **machine(device.type),
            }
        )
    return rows


def line(rows: list[dict]) -> str:
    """One line of the printed table."""
    ours, *peers = rows
    ratios = "  ".join(f"{peer['competitor']} {peer['ratio']:.2f}x" for peer in peers)
    return (
        "{config:25s} batch {batch} prompt {prompt:3d}  ours {median_ms:7.1f} ms "
        "{tokens_per_second:6d} tokens/s  ".format(**ours)
        + f"{ratios}  fastest / ours {min(peer['ratio'] for peer in peers):.2f}"
    )


def run(
    configs: dict[str, ModelConfig],
    requests: list[tuple[int, int]],
    new: int,
    seconds: float,
    path: Path,
    device: str = "cpu",
) -> list[dict]:
    """All rows; after each configuration they are saved, so that a run that is broken off is not
    lost."""
    rows = []
    for name, config in configs.items():
        models = {who: model.to(device) for who, model in make_models(config).items()}
        for batch, prompt in requests:
            measured = measure(name, models, batch, prompt, new, seconds)
            print(line(measured), flush=True)
            rows += measured
        save(rows, path)
    return rows


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two tiny models, seconds")
    parser.add_argument("--threads", type=int, help="threads of torch")
    add_device(parser)
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="time for each row of the table"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    parser.add_argument(
        "--only", choices=list(CONFIGS), action="append", help="this configuration; may be repeated"
    )
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    every = []
    for device in chosen_devices(options):
        path = options.out / f"generation_{device}{'_quick' * options.quick}.csv"
        if options.quick:
            rows = run(QUICK, [(1, 4), (2, 8)], 6, min(options.seconds, 1.0), path, device)
        else:
            chosen = {name: CONFIGS[name] for name in options.only or CONFIGS}
            rows = run(chosen, REQUESTS, NEW_TOKENS, options.seconds, path, device)
        print(f"saved {path}", file=sys.stderr)
        every += rows
    return every


if __name__ == "__main__":
    main()
