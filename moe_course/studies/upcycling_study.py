"""Upcycling or starting anew? A dense model trained on, an MoE made of it, and an MoE from scratch,
three seeds.

    python -m moe_course.studies.upcycling_study       writes data/studies/upcycling.json (about 15
                                                       minutes)

The models and texts of `pretraining_study`: equal active size, 1,024 tokens of the mixture a step.

    dense              from random weights, 180 steps: this is the checkpoint
    dense, trained on  from the checkpoint, 180 steps
    upcycled           the checkpoint turned into the MoE (slices in virtual groups: the same
                       function), 180 steps
    from scratch       the MoE from random weights, 360 steps

The learning rate stays the same after its warm-up. So a curve at t tokens is what a training of t
tokens gives, and "from scratch" can be compared twice: with as many further tokens as the upcycled
model has had since the checkpoint, and with as many as it has had in all. "dense, trained on" and
"upcycled" see the same batches, which are also those of the second half of "from scratch".
"""

import sys
from collections.abc import Mapping

import torch

from moe_course.studies.pretraining_study import LENGTH, load_texts, small_config
from moe_course.studies.running import (
    STUDIES,
    Curve,
    about,
    parser_of,
    rounded,
    stored_rows,
    study_page,
)
from moe_lib.console import run_command, whole
from moe_lib.devices import device
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.text import Batches
from moe_lib.training import evaluate, train
from moe_lib.training.upcycling import upcycle
from moe_lib.validation import Count, Finite, Natural, Seed, checked

RUNS = ("dense", "dense, trained on", "upcycled", "from scratch")
STUDY = STUDIES / "upcycling.json"
STEPS, SEEDS, EVERY = 180, 3, 20
LEARNING_RATE, WARMUP, BATCH = 3e-3, 20, 8


class Later:
    """The batches of another source from its step `first` on."""

    def __init__(self, batches: Batches, first: int):
        self.batches, self.first = batches, first

    def at(self, step: int) -> dict[str, torch.Tensor]:
        return self.batches.at(self.first + step)


@checked
def train_on(
    model: LanguageModel, batches, steps: Count, exam: list[dict], every: Count = EVERY
) -> dict[int, float]:
    """Train in place; returns the held-out loss in nats per token, by the tokens of this run, from
    0 on."""
    curve = {0: evaluate(model, exam)}
    history = train(
        model,
        batches,
        steps=steps,
        learning_rate=LEARNING_RATE,
        min_learning_rate_ratio=1.0,
        warmup_steps=min(WARMUP, steps),
        evaluation=exam,
        evaluate_every=every,
        progress=False,
    ).history
    measured = history.set_index(history["step"] + 1)["heldout_loss"].dropna()
    return curve | {int(step) * BATCH * LENGTH: float(loss) for step, loss in measured.items()}


@checked
def run_seed(
    seed: Seed, practice: torch.Tensor, exam: list[dict], steps: Count, every: Count
) -> dict[str, dict]:
    """The curves of one seed, by the names in RUNS."""
    batches = Batches(practice, BATCH, seed=seed)
    torch.manual_seed(seed)
    dense = LanguageModel(small_config("dense")).to(device())
    curves = {"dense": train_on(dense, batches, steps, exam, every)}
    upcycled = upcycle(dense, small_config("moe"), virtual_groups=True, seed=seed)
    curves["dense, trained on"] = train_on(dense, Later(batches, steps), steps, exam, every)
    curves["upcycled"] = train_on(upcycled, Later(batches, steps), steps, exam, every)
    torch.manual_seed(seed)
    curves["from scratch"] = train_on(
        LanguageModel(small_config("moe")).to(device()), batches, 2 * steps, exam, every
    )
    return curves


@checked
def run_study(
    steps: Count = STEPS, seeds: Count = SEEDS, every: Count = EVERY, rows: Count = 64
) -> dict:
    """Every run with every seed; `rows` of held-out text."""
    torch.set_num_threads(1)
    practice, exam = load_texts(rows)
    runs = []
    for seed in range(seeds):
        for name, curve in run_seed(seed, practice, exam, steps, every).items():
            runs.append({"run": name, "seed": seed, "heldout_loss": curve})
            print(f"seed {seed}, {name}: {list(curve.values())[-1]:.3f}", flush=True)
    facts = about(
        "upcycling_study",
        steps=steps,
        tokens_per_step=BATCH * LENGTH,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP,
        heldout_tokens=rows * LENGTH,
    )
    return rounded({"about": facts, "runs": runs})


@checked
def curve_of(study: Mapping, run: str, seed: Natural) -> dict[int, float]:
    """Held-out loss by tokens of one run; raises ValueError if the study does not hold it."""
    runs = stored_rows("study", study, "runs", run=str, seed=Natural, heldout_loss=Curve)
    for one in runs:
        if (one["run"], one["seed"]) == (run, seed):
            return {int(tokens): loss for tokens, loss in one["heldout_loss"].items()}
    found = sorted({(one["run"], one["seed"]) for one in runs})
    raise ValueError(f"run, seed: got {(run, seed)!r}; wants one of {found}")


@checked
def shifted(curve: Mapping[Natural, Finite], tokens: int) -> dict[int, float]:
    """The same curve, counted from `tokens` on."""
    return {at + tokens: loss for at, loss in curve.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("upcycling_study", __doc__)
    parser.add_argument("--steps", type=whole(1), default=STEPS, help="fewer steps, to try it out")
    parser.add_argument("--seeds", type=whole(1), default=SEEDS)
    parser.add_argument("--out", type=study_page, default=STUDY)
    chosen = parser.parse_args(arguments)
    write_json(
        chosen.out, run_study(chosen.steps, chosen.seeds, max(1, chosen.steps * EVERY // STEPS))
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
