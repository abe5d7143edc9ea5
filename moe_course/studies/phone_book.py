"""The phone book: facts without a rule, to be learned by heart, by designs that do equal work.

    python -m moe_course.studies.phone_book         writes data/studies/phone_book.json
                                                    (about 25 minutes of one core, resumable)

A causal model of one block reads two names and is asked for a number (see `fact_books`). All
designs but "wide" send a name through 2 x 16 hidden units, whatever they store beside them, so
recall tells what stored experts are worth at equal work (after Jelassi et al., "Mixture of
Parrots", ICLR 2025, arXiv 2410.19034). Runs of one seed share the facts and their order. The
learning rate of each design is the best of RATES on a book that no other run uses.

All designs learn TABLE facts; those of CURVE also fewer and more. The control is a rule: which of
two names has the higher hidden rank, asked for pairs that were never shown.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from moe_course.studies.fact_books import BATCH, NAMES, NUMBERS, Facts, PhoneBook, RuleBook
from moe_course.studies.running import (
    STUDIES,
    about,
    field_of,
    kept_run,
    parser_of,
    read_study,
    rounded,
    runs_folder,
    stored_rows,
    study_page,
)
from moe_lib.config import ModelConfig
from moe_lib.console import run_command, whole
from moe_lib.counting import count_parameters
from moe_lib.devices import device
from moe_lib.errors import require
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.training import train
from moe_lib.validation import Count, Natural, NonNegative, Positive, Seed, Share, checked

__all__ = ["BATCH", "DESIGNS", "NAMES", "NUMBERS", "PhoneBook", "RuleBook", "learn", "stored_runs"]

HIDDEN, WIDTH, CHOSEN = 32, 16, 2  # of the model; one expert; experts per token
STEPS = 600
TABLE = 8192  # facts that all designs learn
FACTS = (2048, 4096, 16384)  # besides, that those of CURVE learn
RATES = (0.005, 0.01, 0.02, 0.03)
SEEDS = 3
TUNING_SEED = 100  # of the book on which the rates are chosen
RULE_SHOWN, RULE_STEPS = 4096, 300  # pairs of the rule that are shown
RULE_RATES = (0.001, 0.0025, 0.005, 0.01)
STUDY = STUDIES / "phone_book.json"

_EVEN = dict(router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True)
_EVEN["bias_update_speed"] = 0.005


@checked
def even_experts(n: Count, **changes) -> dict:
    """Fields of a layer of n experts whose load a bias evens out; `changes` are taken over."""
    sizes = dict(n_routed_experts=n, num_experts_per_tok=CHOSEN, moe_intermediate_size=WIDTH)
    return {**sizes, **_EVEN, **changes}


DESIGNS: dict[str, dict] = {
    "dense": dict(intermediate_size=CHOSEN * WIDTH),
    "2 experts, both on": even_experts(2),
    "4 experts": even_experts(4),
    "8 experts": even_experts(8),
    "16 experts": even_experts(16),
    "32 experts": even_experts(32),
    "64 slices, 8 on": even_experts(64, num_experts_per_tok=8, moe_intermediate_size=WIDTH // 4),
    "16, no cure": even_experts(16, bias_update_speed=0.0),
    "16, fixed table": even_experts(
        16, router="hash", scoring_func="softmax", norm_topk_prob=False, bias_update_speed=None
    ),
    "wide": dict(intermediate_size=16 * WIDTH),
}
CURVE = ("dense", "8 experts", "32 experts", "16, fixed table")
RULE = ("dense", "16 experts", "wide")


def design_config(design: str) -> ModelConfig:
    """The config of one of DESIGNS."""
    require(design in DESIGNS, "design", design, f"one of {', '.join(DESIGNS)}")
    return book_config(DESIGNS[design])


@checked
def book_config(feed_forward: Mapping[str, object], hidden_size: Count = HIDDEN) -> ModelConfig:
    """The model that reads books, one block, with these fields for its feed-forward layer."""
    return ModelConfig(
        vocab_size=PhoneBook.vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        rope_theta=100.0,
        initializer_range=0.1,
        tie_word_embeddings=False,
        **feed_forward,
    )


@checked
def learn(
    design: str,
    book: PhoneBook,
    learning_rate: Positive,
    *,
    steps: Count = STEPS,
    seed: Seed = 0,
    **more,
) -> tuple[LanguageModel, dict]:
    """Train one design on a book -> the model, and what it knows: recall, bits per fact (loss), and
    MaxVio, the mean over the last tenth of the steps. `more` are options of `train`."""
    torch.manual_seed(seed)
    model = LanguageModel(design_config(design)).to(device())
    options = dict(steps=steps, learning_rate=learning_rate, weight_decay=0.0, progress=False)
    history = train(model, book, **{**options, **more}).history
    known, bits = book.known(model)
    found = {"recall": float(known.double().mean()), "bits": bits}
    found["max_violation"] = float(history["max_violation"].tail(max(1, steps // 10)).mean())
    return model, found


@checked
def stored_bits(bits: NonNegative, n_facts: Natural) -> float:
    """Bits about the facts that a model holds: what guessing costs, log2 64 a fact, minus what is
    left to guess, `bits` a fact."""
    return n_facts * max(0.0, math.log2(NUMBERS) - bits)


@checked
def steps_for(n_facts: Count, steps: Count = STEPS) -> int:
    """Steps with a book: each fact is shown at least as often as one of TABLE facts in `steps`."""
    return max(steps, math.ceil(steps * n_facts / TABLE))


def stored_runs(study: Path = STUDY) -> pd.DataFrame:
    """The runs of the stored study: a row per design, n_facts and seed, with recall, bits,
    max_violation, parameters, and bits_per_parameter that the model holds of the book."""
    told = read_study(study, parameters=dict[str, dict])
    columns = dict(design=str, n_facts=Count, seed=Seed, recall=Share, bits=NonNegative)
    runs = pd.DataFrame(stored_rows(study, told, "runs", **columns))
    sizes = told["parameters"]
    for design in runs["design"].unique():
        field_of(f"{study}: 'parameters'", sizes, design, dict)
        field_of(f"{study}: 'parameters'[{design!r}]", sizes[design], "total", Count)
    runs["parameters"] = runs["design"].map({k: v["total"] for k, v in sizes.items()})
    held = [stored_bits(*row) for row in zip(runs["bits"], runs["n_facts"], strict=True)]
    return runs.assign(bits_per_parameter=held / runs["parameters"])


def stored_rule(study: Path = STUDY) -> pd.DataFrame:
    """The stored runs on the rule: a row per design and seed, with recall of the pairs shown and
    unseen_recall of the others."""
    columns = dict(design=str, seed=Seed, recall=Share, unseen_recall=Share)
    return pd.DataFrame(stored_rows(study, read_study(study), "rule", **columns))


@checked
def run_study(
    table: Facts = TABLE,
    facts: Sequence[Facts] = FACTS,
    seeds: Count = SEEDS,
    steps: Count = STEPS,
    kept: Path | None = None,
) -> dict:
    """Every design with `table` facts, those of CURVE with each of `facts`, those of RULE with the
    rule; finished runs are taken from `kept`."""
    torch.set_num_threads(1)
    rates, runs = {}, []
    for design in DESIGNS:
        key = {"design": design, "fields": DESIGNS[design], "steps": steps}
        file = _file(kept, "rate", design)
        rates[design] = kept_run(file, key, lambda d=design: _best_rate(d, _recite, steps))
    curve = [design for design in CURVE if design in DESIGNS]
    pairs = [(table, design) for design in DESIGNS]
    for n_facts, design in [*pairs, *((n, design) for n in facts for design in curve)]:
        for seed in range(seeds):
            plan = dict(rate=rates[design]["best"], steps=steps_for(n_facts, steps), seed=seed)
            key = {"design": design, "fields": DESIGNS[design], "n_facts": n_facts, **plan}
            file = _file(kept, design, n_facts, seed)
            found = kept_run(file, key, lambda k=key: _recite(**_named(k)))
            runs.append({"design": design, "n_facts": n_facts, **plan, **found})
            print(f"{design}, {n_facts}, seed {seed}: {found['recall']:.3f}", flush=True)
    rule = _run_rule(seeds, max(1, steps * RULE_STEPS // STEPS), kept)
    sizes = {design: count_parameters(design_config(design)).as_dict() for design in DESIGNS}
    told = about("phone_book", steps=steps, batch=BATCH, seeds=seeds, table=table, facts=facts)
    found = {"about": told, "parameters": sizes, "rates": rates, "runs": runs, "rule": rule}
    return rounded(found)


def _run_rule(seeds: int, steps: int, kept: Path | None) -> list[dict]:
    runs = []
    for design in (name for name in RULE if name in DESIGNS):
        key = {"design": design, "fields": DESIGNS[design], "shown": RULE_SHOWN, "steps": steps}
        key["rates"] = RULE_RATES
        file = _file(kept, "rule-rate", design)
        best = kept_run(file, key, lambda d=design: _best_rate(d, _apply_rule, steps))["best"]
        for seed in range(seeds):
            plan = dict(rate=best, steps=steps, seed=seed)
            this = {**key, **plan, "n_facts": RULE_SHOWN}
            file = _file(kept, "rule", design, seed)
            found = kept_run(file, this, lambda k=this: _apply_rule(**_named(k)))
            runs.append({"design": design, "shown": RULE_SHOWN, **plan, **found})
            print(f"rule, {design}, seed {seed}: {found['unseen_recall']:.3f}", flush=True)
    return runs


def _recite(design: str, n_facts: int, rate: float, steps: int, seed: int) -> dict:
    """One run on a phone book."""
    return learn(design, PhoneBook(n_facts, seed), rate, steps=steps, seed=seed)[1]


def _apply_rule(design: str, n_facts: int, rate: float, steps: int, seed: int) -> dict:
    """One run on a rule: what it knows of pairs shown, and of those never shown. `bits` are of
    the latter, which choose the rate."""
    book = RuleBook(n_facts, seed)
    model, found = learn(design, book, rate, steps=steps, seed=seed)
    known, bits = book.unseen.known(model)
    return {**found, "unseen_recall": float(known.double().mean()), "bits": bits}


def _best_rate(design: str, run: Callable, steps: int) -> dict:
    """The learning rate with the fewest bits left on the tuning book, and what each gave."""
    n_facts, rates = (TABLE, RATES) if run is _recite else (RULE_SHOWN, RULE_RATES)
    tried = {rate: run(design, n_facts, rate, steps, TUNING_SEED) for rate in rates}
    best = min(tried, key=lambda rate: tried[rate]["bits"])
    print(f"{design}: learning rate {best}", flush=True)
    return {"best": best, "tried": tried}


def _named(key: dict) -> dict:
    return {name: key[name] for name in ("design", "n_facts", "rate", "steps", "seed")}


def _file(kept: Path | None, *words) -> Path | None:
    return kept and kept / ("-".join(str(word).replace(" ", "-") for word in words) + ".json")


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("phone_book", __doc__)
    parser.add_argument("--steps", type=whole(1), default=STEPS, help="fewer steps, to try it out")
    parser.add_argument("--seeds", type=whole(1), default=SEEDS)
    parser.add_argument("--out", type=study_page, default=STUDY)
    given = parser.parse_args(arguments)
    write_json(
        given.out,
        run_study(seeds=given.seeds, steps=given.steps, kept=runs_folder("phone_book")),
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
