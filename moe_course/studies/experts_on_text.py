"""What are stored experts worth on real text? Six designs, three seeds each.

    python -m moe_course.studies.experts_on_text                     all that is missing, in order
    python -m moe_course.studies.experts_on_text --part 1 2          half of it; --part 2 2 the rest
    python -m moe_course.studies.experts_on_text --run once hash 0   one training, on one thread
    python -m moe_course.studies.experts_on_text --list              what is there and what is not

Writes data/studies/experts_on_text.json, a run at a time. A training that is broken off goes on
where it was. The two parts may run side by side: they share no design.

The text is the mixture and the docstrings of the course's pinned packages, cut by the tokenizer
"mixture-small" (1,024 tokens): 17 million tokens. The models are small for it, three layers of
hidden size 64, so that what their active weights can hold is used up, and most of what an MoE
stores is experts.

    dense        one feed-forward layer per block, as wide as what a token passes in the MoE
    all on       two experts that every token takes, both: the MoE's layer, without its choice
    experts      32 experts, of which every token takes two, by a learned router
    hash         the same, by a fixed table of the token ids
    hash first   the table in the first block, a learned router in the others (as in DeepSeek-V4)
    wide         a dense layer with as many weights as all experts together, eleven times the work;
                 it stops after a quarter of the steps

Two SETTINGS: "once" reads 16 million tokens, none of them twice; "again" reads three million five
times over, as many steps in all. The learning rate is constant after the warm-up, so every point of
a curve is the end of a training of that length. Each design has the rate, out of RATES, that ends
lowest after an eighth of the steps with a seed that no other run uses; of rates that are as good as
equal there (TIE), the lowest. Runs of one seed share their
batches. A run takes 13 to 17 minutes of one core.
"""

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from moe_course.studies.rows_of_text import BATCH, HELD_OUT, LENGTH, STEPS, Texts
from moe_course.studies.running import (
    STUDIES,
    Curve,
    about,
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
from moe_lib.errors import require, require_one_of
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.text import Batches
from moe_lib.training import evaluate, train
from moe_lib.training.loop import BatchSource
from moe_lib.validation import Choice, Count, Positive, Seed, checked

DESIGNS = ("dense", "experts", "hash", "hash first", "all on", "wide")  # in the order of running
SETTINGS = ("once", "again")
WARMUP = 400  # a short one harms dense most
WIDE_PART = 4  # "wide" stops after one part in so many
POINTS = 40  # measurements of a run
RATES = (0.0015, 0.003, 0.006, 0.012)
SEEDS = 3
TIE = 0.01  # nats: as good as equal; a constant rate has to serve all the way, so the lower one
TUNING_SEED, TUNING_SHARE = 100, 8  # the rates are chosen on an eighth of the steps
STUDY = STUDIES / "experts_on_text.json"


def text_config(design: str) -> ModelConfig:
    """The model of one of the DESIGNS."""
    require(design in DESIGNS, "design", design, f"one of {', '.join(DESIGNS)}")
    config = ModelConfig(
        vocab_size=1024,
        hidden_size=64,
        num_hidden_layers=3,
        n_routed_experts=32,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=64,
        max_position_embeddings=LENGTH,
        router="biased_topk",
        scoring_func="sigmoid",
        norm_topk_prob=True,
        routed_scaling_factor=2.0,  # the gates sum to the number of chosen experts
        bias_update_speed=0.005,
    )
    stored = config.n_routed_experts + config.n_shared_experts
    return {
        "dense": lambda: config.dense(),
        "all on": lambda: config.replace(n_routed_experts=config.num_experts_per_tok),
        "experts": lambda: config,
        "hash": lambda: config.replace(mlp_layer_types=("hash_moe",) * 3),
        "hash first": lambda: config.replace(mlp_layer_types=("hash_moe", "moe", "moe")),
        "wide": lambda: config.dense().replace(intermediate_size=stored * 64),
    }[design]()


@checked
def train_one(
    design: str,
    batches: BatchSource,
    exam: list[dict],
    *,
    seen: list[dict] | None = None,
    seed: Seed,
    rate: Positive,
    steps: Count = STEPS,
    points: Count = POINTS,
    stop_after: Count | None = None,
    folder: Path | None = None,
) -> dict:
    """Train one model, whose weights `seed` decides, on batches of rows of 128 tokens.

    exam         held-out batches
    seen         batches of rows of "again", or None
    stop_after   end there: what the full run has at that step comes out
    folder       keep the state there, so that a run that is broken off goes on

    Returns, in nats per token: heldout_loss and training_loss (the mean since the point before), by
    tokens, and seen_loss, at the end, on rows of "again"; and max_violation, of the worst layer,
    mean of the last tenth, and the seconds of all steps.
    """
    torch.manual_seed(seed)
    model = LanguageModel(text_config(design)).to(device())
    every = max(1, steps // points)
    run = train(
        model,
        batches,
        steps=steps,
        learning_rate=rate,
        min_learning_rate_ratio=1.0,
        warmup_steps=min(WARMUP, steps),
        evaluation=exam,
        evaluate_every=every,
        folder=folder,
        progress=False,
        callback=lambda report: stop_after is not None and report.row["step"] + 1 >= stop_after,
    )
    history = run.history
    tokens = history["tokens"].cumsum()
    measured = history["heldout_loss"].dropna()
    windows = history["loss"].groupby(history["step"] // every).mean()
    last_tenth = history["max_violation"].tail(max(1, len(history) // 10))
    return {
        "heldout_loss": {int(tokens[at]): float(loss) for at, loss in measured.items()},
        "training_loss": {
            int(tokens[min((window + 1) * every, len(history)) - 1]): float(loss)
            for window, loss in windows.items()
        },
        "seen_loss": float(evaluate(model, seen)) if seen else None,
        "max_violation": float(last_tenth.mean()),
        "seconds": float(history["seconds"].sum()),
    }


@checked
def last_of(curve: Curve) -> float:
    """The loss at the end of {tokens: loss}; out of a file the tokens are text."""
    require(len(curve) > 0, "curve", curve, "at least one point")
    return curve[max(curve, key=int)]


@dataclass(frozen=True)
class Study:
    """Where the study is stored and kept, and how long its runs are."""

    out: Path = STUDY
    scratch: Path = runs_folder("experts_on_text")
    steps: int = STEPS
    rates: tuple[float, ...] = RATES
    seeds: int = SEEDS

    def plan(self) -> list[tuple[str, str, int]]:
        """(setting, design, seed) of all runs, in the order of their worth: seed 0 first."""
        order = product(SETTINGS, range(self.seeds), DESIGNS)
        return [(setting, design, seed) for setting, seed, design in order]

    def stored(self) -> dict:
        """What is there; ValueError naming the file and the field at fault."""
        if not self.out.is_file():
            return {"rates": {}, "runs": []}
        found = read_study(self.out, rates=dict[str, Positive], runs=list)
        if found["runs"]:
            columns = dict(setting=Choice(*SETTINGS), design=str, seed=Seed, heldout_loss=Curve)
            stored_rows(self.out, found, "runs", **columns)
        return found

    def missing(self) -> list[tuple[str, str, int]]:
        there = {(run["setting"], run["design"], run["seed"]) for run in self.stored()["runs"]}
        return [run for run in self.plan() if run not in there]

    def rate_of(self, design: str, texts: Texts) -> float:
        """The design's learning rate, stored or looked for now."""
        if design in (known := self.stored()["rates"]):
            return known[design]
        steps, ends = max(1, self.steps // TUNING_SHARE), {}
        for rate in self.rates:
            name = f"tuning-{design.replace(' ', '-')}-{rate:g}"
            how = dict(seed=TUNING_SEED, rate=rate, steps=steps, points=2)
            run = kept_run(
                self.scratch / f"{name}.json",
                {"design": design, **how},
                lambda h=how, n=name: self._train(design, texts.once, texts, h, self.scratch / n),
            )
            ends[rate] = last_of(run["heldout_loss"])
            print(f"{design}, rate {rate:g}: {ends[rate]:.3f}", flush=True)
        best = min(rate for rate, loss in ends.items() if loss < min(ends.values()) + TIE)
        self._add(rates={design: best}, tuning={design: ends})
        return best

    def run(self, setting: str, design: str, seed: int, texts: Texts) -> None:
        """One training, its rate looked for before if need be; stored when it is done."""
        rate = self.rate_of(design, texts)
        name = f"{setting}-{design.replace(' ', '-')}-{seed}"
        part = WIDE_PART if design == "wide" else 1
        how = dict(seed=seed, rate=rate, steps=max(1, self.steps // part), points=POINTS // part)
        found = kept_run(
            self.scratch / f"{name}.json",
            {"design": design, "setting": setting, **how},
            lambda: self._train(design, getattr(texts, setting), texts, how, self.scratch / name),
        )
        run = {"setting": setting, "design": design, "seed": seed, "rate": rate, **found}
        self._add(runs=[run], texts=texts)
        print(f"{setting}, {design}, seed {seed}: {last_of(found['heldout_loss']):.3f}", flush=True)

    @staticmethod
    def _train(design: str, rows: torch.Tensor, texts: Texts, how: dict, folder: Path) -> dict:
        batches = Batches(rows, BATCH, seed=how["seed"])
        return train_one(design, batches, texts.exam, seen=texts.seen, folder=folder, **how)

    def _add(self, rates=None, tuning=None, runs=(), texts: Texts | None = None) -> None:
        """Put rates and runs into the stored study, in the order of the plan."""
        study = self.stored()
        study["rates"] = {**study["rates"], **(rates or {})}
        study["tuning"] = {**study.get("tuning", {}), **(tuning or {})}
        by_key = {(run["setting"], run["design"], run["seed"]): run for run in study["runs"]}
        by_key |= {(run["setting"], run["design"], run["seed"]): run for run in runs}
        study["runs"] = [by_key[key] for key in self.plan() if key in by_key]
        study["parameters"] = {
            design: count_parameters(text_config(design)).as_dict() for design in study["rates"]
        }
        if texts is not None:
            study["about"] = about(
                "experts_on_text",
                steps=self.steps,
                tokens_per_step=BATCH * LENGTH,
                tokens_per_epoch={"once": texts.once.numel(), "again": texts.again.numel()},
                heldout_tokens=HELD_OUT * LENGTH,
                warmup_steps=WARMUP,
                rates=list(self.rates),
                tuning_steps=max(1, self.steps // TUNING_SHARE),
            )
        write_json(self.out, rounded(study))


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("experts_on_text", __doc__)
    parser.add_argument("--run", nargs=3, metavar=("SETTING", "DESIGN", "SEED"), help="only this")
    parser.add_argument(
        "--part", nargs=2, type=whole(1), metavar=("K", "N"), help="the designs of part K of N"
    )
    parser.add_argument("--list", action="store_true", help="say what is there, run nothing")
    parser.add_argument("--out", type=study_page, default=STUDY)
    chosen = parser.parse_args(arguments)
    study = Study(chosen.out)
    missing = study.missing()
    if chosen.list:
        for run in study.plan():
            print(f"{'to come' if run in missing else 'done':8}", *run)
        return
    if chosen.run:
        missing = [_named(*chosen.run)]
    if chosen.part:
        k, n = chosen.part
        require(k <= n, "K", k, f"at most N ({n})")
        missing = [run for run in missing if run[1] in DESIGNS[k - 1 :: n]]
    torch.set_num_threads(1)
    texts = Texts.load()
    for setting, design, seed in missing:
        study.run(setting, design, seed, texts)


def _named(setting: str, design: str, seed: str) -> tuple[str, str, int]:
    require_one_of("SETTING", setting, SETTINGS)
    require_one_of("DESIGN", design, DESIGNS)
    require(seed.isdecimal(), "SEED", seed, "a whole number")
    return setting, design, int(seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
