"""Comparisons with made-up numbers, for what draws them."""

import math

import pandas as pd

from moe_lib.tuning import Comparison


def made_up(
    task="intents",
    cases=("full", "LoRA", "head"),
    sizes=(100, 300),
    seeds=(0, 1, 2),
    quality=None,
    dense=(),
    metric="accuracy",
):
    """quality: {case: mean at the first size}; each further size adds 0.05, seeds lie 0.01
    apart."""
    quality = quality or {case: 0.80 - 0.12 * place for place, case in enumerate(cases)}
    runs, curves = [], []
    for place, case in enumerate(cases):
        for size, n_train in enumerate(sizes):
            for seed in seeds:
                value = (
                    quality[case] + 0.05 * size + 0.01 * (seed - 1) + 0.004 * ((seed + place) % 2)
                )
                runs.append(
                    {
                        "case": case,
                        "method": case,
                        "n_train": n_train,
                        "seed": seed,
                        "seconds": 10.0 - place,
                        "cpu_seconds": 9.0,
                        "steps": 20,
                        "best_step": math.nan,
                        "trainable": 3_700_000 // 40**place,
                        "memory_mb": 90.0 - 9 * place,
                        "activations_mb": 20.0,
                        "train_accuracy": value + 0.1,
                        f"test_{metric}": value,
                        "test_loss": 1 - value,
                        "train_loss": 0.9 - value,
                        "gap": 0.1,
                        "forgetting": 0.3 / (1 + 5 * place) + 0.01 * seed,
                        "routing_change": math.nan if case in dense else 0.2 / (1 + place),
                    }
                )
                curves += [
                    {
                        "case": case,
                        "n_train": n_train,
                        "seed": seed,
                        "step": step,
                        "loss": 2.0 / (1 + 0.1 * step) + 0.2 * place + 0.03 * seed,
                        "validation_loss": 1.8 - 0.03 * step if step % 5 == 0 else math.nan,
                    }
                    for step in range(1, 21)
                ]
    about = {
        "task": task,
        "metric": metric,
        "higher_is_better": True,
        "seeds": list(seeds),
        "cases": {},
        "date": "2026-01-02",
        "torch": "2.0",
        "command": "python -m some.study",
    }
    return Comparison(pd.DataFrame(runs), pd.DataFrame(curves), about)
