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

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from moe_course.studies.parameter_efficient_rates import FIRST_RATES, best_rates, climb
from moe_course.studies.running import STUDIES, Report, command_of, parser_of, runs_folder
from moe_lib.console import new_folder, run_command
from moe_lib.devices import device
from moe_lib.errors import require, require_one_of
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
from moe_lib.validation import Callback, Count, Positive, Seed, Texts, checked

BASE, STEPS, BATCH, SEEDS, RATE_SEED, MAX_LENGTH = "mini-v2", 72, 16, (0, 1, 2), 100, 64
INTENTS = ("account_access", "order_status", "discount_code", "damaged_item")
STUDY = STUDIES / "parameter_efficient.json"
RATES = STUDIES / "parameter_efficient_rates.json"


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


@checked
def make_case(
    name: str, learning_rate: Positive, steps: Count = STEPS, label: str | None = None
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


def try_rates(first=FIRST_RATES, scratch: Path | None = None, steps: int = STEPS) -> Comparison:
    """Every method climbs the ladder from its first rates; another seed, measured on the validation
    split.

    about["diverged"] lists the cases whose loss was no longer finite; they have no row."""
    task, found, diverged = make_task("validation"), [], []

    def loss_at(name: str, rate: float) -> float:
        case = make_case(name, rate, steps, f"{name} {rate:g}")
        try:
            one = compare(
                [case],
                task,
                seeds=(RATE_SEED,),
                scratch=scratch,
                callback=Report(),
                device=device(),
            )
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


@checked
def run_study(
    rates: Mapping[str, Positive],
    names: Texts | None = None,
    seeds: Sequence[Seed] = SEEDS,
    scratch: Path | None = None,
    steps: Count = STEPS,
    callback: Callback = None,
) -> Comparison:
    """The cases `names` (None: all) with their learning rates. Forgetting and routing change are
    measured as well."""
    torch.set_num_threads(1)
    for name in names or all_methods():
        require_one_of("names", name, all_methods())
        require(name in rates, "rates", sorted(rates), f"a learning rate for {name!r}")
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
        device=device(),
        callback=callback,
        pretraining=lambda base: pretraining_domains(base, tokenizer),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("parameter_efficient_study", __doc__)
    parser.add_argument(
        "--out", type=new_folder, default=STUDY.parent, help="folder of the two files"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scratch = runs_folder("parameter_efficient_study")
    command = command_of("parameter_efficient_study")
    tried = try_rates(scratch=scratch / "rates")
    tried.save(chosen.out / RATES.name, command=command)
    rates = best_rates(tried)
    print(rates, flush=True)
    found = run_study(rates, scratch=scratch / "runs", callback=Report())
    found.save(
        chosen.out / STUDY.name, command=command, learning_rates=rates, base=BASE, steps=STEPS
    )
    print(found.summary([found.metric, "trainable", "forgetting"]).round(3).to_string(), flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
