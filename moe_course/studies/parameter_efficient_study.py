"""Ways to train a few numbers of mini-v2, at matched budgets, beside training all of them and none
of them.

    python -m moe_course.studies.parameter_efficient_study     writes
        data/studies/parameter_efficient*.json (15 minutes)

The task: four of the 13 intents of support_intent (all 13 take longer to learn), 72 steps of 16
texts, three seeds.

    about 35,000 numbers    LoRA and AdaLoRA on attention, adapters, LoRA on every expert with rank
                            1
    about 250,000 numbers   ESFT: the experts that the task uses most; the same number of other
                            experts, drawn anew for each seed (the control); LoRA on every expert,
                            rank 7; LoRA on attention, rank 56
    less                    prefix, routers only, added biases
    another rate            LoRA on every expert with rank 1, once more with the next lower learning
                            rate
    baselines               full fine-tuning, head only

First every method looks for its learning rate, with another seed and on the validation split. It
goes up or down the ladder 0.001, 0.003, 0.01 … until the rate with the lowest loss has a worse one
on either side. A study that is broken off goes on where it was when the command is given again.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from moe_lib.errors import require
from moe_lib.paths import DATA, REPOSITORY
from moe_lib.text import load_task
from moe_lib.training import TrainingDiverged, load_checkpoint
from moe_lib.tuning import (
    Case,
    Comparison,
    Encoded,
    Examples,
    SequenceClassifier,
    TuningTask,
    compare,
    encode_texts,
    finetune,
    measure,
    pretraining_domains,
)
from moe_lib.tuning.methods import (
    ESFT,
    AdaLoRA,
    AddedBias,
    Full,
    HeadOnly,
    Houlsby,
    LoRA,
    Method,
    Prefix,
    RouterOnly,
    attached_to,
    select_experts,
)

BASE, STEPS, BATCH, SEEDS, RATE_SEED, MAX_LENGTH = "mini-v2", 72, 16, (0, 1, 2), 100, 64
INTENTS = ("account_access", "order_status", "discount_code", "damaged_item")
STUDY = DATA / "studies" / "parameter_efficient.json"
RATES = DATA / "studies" / "parameter_efficient_rates.json"

# learning rates, about half a power of ten apart, and those that each case tries first; a case
# without any takes that of another one
LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
FIRST_RATES = {
    "full": (1e-3, 3e-3),
    "head only": (1e-2, 3e-2),
    "LoRA": (3e-3, 1e-2),
    "AdaLoRA": (3e-3, 1e-2),
    "adapters": (3e-3, 1e-2),
    "LoRA on experts": (3e-3, 1e-2),
    "prefix": (1e-2, 3e-2),
    "router only": (1e-2, 3e-2),
    "added biases": (1e-2, 3e-2),
    "ESFT": (3e-3, 1e-2),
    "LoRA, large": (1e-3, 3e-3),
    "LoRA on experts, large": (3e-3, 1e-2),
}
SAME_RATE = {"other experts": "ESFT"}
SLOWER = {
    "LoRA on experts, slower": "LoRA on experts"
}  # one rung lower: what comes of the method, what of its rate?


@cache
def encoded_task(task: str = "intents") -> dict[str, Encoded]:
    """The splits of "intents" (the four) or "sentiment" (market_sentiment), encoded for mini-v2.
    Texts of more than 64 tokens lose their end."""
    require(task in ("intents", "sentiment"), "task", task, '"intents" or "sentiment"')
    name, column = {
        "intents": ("support_intent", "intent"),
        "sentiment": ("market_sentiment", "label"),
    }[task]
    splits, tokenizer = load_task(name), load_checkpoint(BASE)[1]
    known = splits["train"].features[column].names
    names = INTENTS if task == "intents" else tuple(known)
    encoded = {}
    for side, rows in splits.items():
        labelled = [
            (text, known[label]) for text, label in zip(rows["text"], rows[column], strict=True)
        ]
        texts, labels = zip(*[pair for pair in labelled if pair[1] in names], strict=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "texts: .* lost their end")
            encoded[side] = encode_texts(
                texts, labels, tokenizer, label_names=names, max_length=MAX_LENGTH
            )
    return encoded


@cache
def all_methods() -> dict[str, Method]:
    """Every case's method by name, in the order of the docstring."""
    batches = Examples(encoded_task()["train"], 32)
    small = LoRA(rank=1, alpha=2.0, targets=("experts",))
    chosen = ESFT(select_experts(load_checkpoint(BASE)[0], batches, scores="token"))
    return {
        "full": Full(),
        "head only": HeadOnly(),
        "LoRA": LoRA(rank=8),
        "AdaLoRA": AdaLoRA(init_rank=12, target_rank=8, tinit=8, tfinal=24, deltaT=4),
        "adapters": Houlsby(bottleneck=16),
        "LoRA on experts": small,
        "LoRA on experts, slower": small,
        "prefix": Prefix(length=16),
        "router only": RouterOnly(),
        "added biases": AddedBias(),
        "ESFT": chosen,
        "other experts": chosen,
        "LoRA, large": LoRA(rank=56, alpha=112.0),
        "LoRA on experts, large": LoRA(rank=7, alpha=14.0, targets=("experts",)),
    }


def other_experts(method: ESFT, n_experts: int, seed: int) -> ESFT:
    """As many experts in each layer as `method` trains, drawn by the seed from those that it does
    not train."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for layer, chosen in method.experts:
        rest = [expert for expert in range(n_experts) if expert not in chosen]
        order = torch.randperm(len(rest), generator=generator)[: len(chosen)]
        drawn.append((layer, tuple(sorted(rest[place] for place in order.tolist()))))
    return ESFT(tuple(drawn))


def fit_other_experts(head, batches, *, method, seed, **settings):
    """finetune, with experts that the task uses less."""
    method = other_experts(method, head.base.config.n_routed_experts, seed)
    return finetune(head, batches, method=method, seed=seed, **settings)


def measure_and_ranks(head, encoded: Encoded) -> dict[str, float]:
    """loss and accuracy; after AdaLoRA also rank_<matrix>, what it keeps."""
    attached = attached_to(head.base)
    ranks = attached.ranks() if hasattr(attached, "ranks") else {}
    return measure(head, Examples(encoded, 64)) | {
        f"rank_{path}": float(rank) for path, rank in ranks.items()
    }


def make_task(test: str = "test") -> TuningTask:
    encoded = encoded_task()
    n_labels = len(encoded["train"].label_names)

    def make_head(base):
        return SequenceClassifier(base, n_labels)

    return TuningTask(
        "four intents",
        encoded["train"],
        encoded[test],
        make_head,
        measure_and_ranks,
        batch_size=BATCH,
    )


def make_case(
    name: str, learning_rate: float, steps: int = STEPS, label: str | None = None
) -> Case:
    """One case of the study. label: another name for it."""
    methods = all_methods()
    require(name in methods, "name", name, f"one of {', '.join(methods)}")
    special = {"fit": fit_other_experts} if name == "other experts" else {}
    method = methods[name]
    if (
        isinstance(method, AdaLoRA) and steps < STEPS
    ):  # a shorter trial run needs a shorter schedule
        method = replace(method, tinit=1, tfinal=1)
    return Case(
        label or name,
        BASE,
        method=method,
        settings={"steps": steps, "learning_rate": learning_rate},
        **special,
    )


def climb(first: Sequence[float], loss_at: Callable[[float], float]) -> dict[float, float]:
    """Rate -> loss for the rates `first`, then for the neighbours of the best one on the ladder,
    the higher one first, until it has a worse one on either side (or the ladder ends)."""
    losses = {rate: loss_at(rate) for rate in first}
    while True:
        best = LADDER.index(min(losses, key=losses.get))
        neighbours = [LADDER[place] for place in (best + 1, best - 1) if 0 <= place < len(LADDER)]
        untried = [rate for rate in neighbours if rate not in losses]
        if not untried:
            return losses
        losses[untried[0]] = loss_at(untried[0])


def try_rates(first=FIRST_RATES, scratch: Path | None = None, steps: int = STEPS) -> Comparison:
    """Every method climbs the ladder from its first rates; another seed, measured on the validation
    split.

    about["diverged"] lists the cases whose loss was no longer finite; they have no row."""
    task, found, diverged = make_task("validation"), [], []

    def loss_at(name: str, rate: float) -> float:
        case = make_case(name, rate, steps, f"{name} {rate:g}")
        try:
            one = compare([case], task, seeds=(RATE_SEED,), scratch=scratch, callback=_Report())
        except TrainingDiverged:
            diverged.append(case.name)
            return float("inf")
        found.append(one)
        return float(one.runs["test_loss"].iloc[0])

    for name, rates in first.items():
        climb(rates, partial(loss_at, name))
    tried = sum(found[1:], found[0])
    tried.about["diverged"] = diverged
    return tried


def best_rates(tried: Comparison) -> dict[str, float]:
    """Case -> the learning rate with the lowest validation loss; for SLOWER, the rate below
    that."""
    found: dict[str, tuple[float, float]] = {}
    for case, loss in zip(tried.runs["case"], tried.runs["test_loss"], strict=True):
        name, rate = case.rsplit(" ", 1)
        found[name] = min(found.get(name, (float("inf"), 0.0)), (float(loss), float(rate)))
    rates = {name: rate for name, (_, rate) in found.items()}
    rates |= {name: rates[other] for name, other in SAME_RATE.items() if other in rates}
    return rates | {
        name: LADDER[LADDER.index(rates[other]) - 1]
        for name, other in SLOWER.items()
        if other in rates
    }


def run_study(
    rates: dict[str, float],
    names: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    scratch: Path | None = None,
    steps: int = STEPS,
    callback: Callable[[dict], bool | None] | None = None,
) -> Comparison:
    """The cases `names` (None: all) with their learning rates. Forgetting and routing change are
    measured as well."""
    torch.set_num_threads(1)
    tokenizer = load_checkpoint(BASE)[1]
    text = Examples(encoded_task()["validation"].select(range(64)), 64).at(0)
    routing_text = {name: text[name] for name in ("input_ids", "attention_mask")}
    cases = [make_case(name, rates[name], steps) for name in (names or all_methods())]
    return compare(
        cases,
        make_task(),
        seeds=seeds,
        scratch=scratch,
        routing_text=routing_text,
        callback=callback,
        pretraining=lambda base: pretraining_domains(base, tokenizer),
    )


class _Report:
    """Prints the name of each run as it begins."""

    def __init__(self):
        self.run = None

    def __call__(self, at: dict) -> None:
        if at["run"] != self.run:
            self.run = at["run"]
            print(
                f"run {at['run'] + 1} of {at['runs']}: {at['case']}, seed {at['seed']}", flush=True
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m moe_course.studies.parameter_efficient_study",
        description=__doc__.split("\n")[0],
    )
    parser.add_argument("--out", type=Path, default=STUDY.parent, help="folder of the two files")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scratch = REPOSITORY / "runs" / "parameter_efficient_study"
    command = "python -m moe_course.studies.parameter_efficient_study"
    tried = try_rates(scratch=scratch / "rates")
    tried.save(chosen.out / RATES.name, command=command)
    rates = best_rates(tried)
    print(rates, flush=True)
    found = run_study(rates, scratch=scratch / "runs", callback=_Report())
    found.save(
        chosen.out / STUDY.name, command=command, learning_rates=rates, base=BASE, steps=STEPS
    )
    print(found.summary([found.metric, "trainable", "forgetting"]).round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
