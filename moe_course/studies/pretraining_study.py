"""Does a mixture of experts learn faster than a dense model? Designs of equal active size, three
seeds each.

    python -m moe_course.studies.pretraining_study       writes data/studies/moe_against_dense.json
                                                         (about two hours)

Three layers of the preset mini-v2, 600 steps of 2,048 tokens of the mixture:

    dense    one feed-forward layer per block, as wide as what a token passes through in the MoE
    all on   two experts that every token takes, both: the MoE's layer, with its weights and its
             scale, but no choice
    moe      16 experts, of which every token takes two
    hash     the same experts, chosen by a fixed table of the token ids: nothing about the choice is
             learned
    wide     a dense layer with as many weights as all experts together, six times the work: what is
             more room worth?

"dense" is the usual baseline. "all on" is the control: what it gains on "dense" is no gain of
choosing. "hash" tells what many experts are worth when each of them sees the same tokens from the
first step to the last.

In three SETTINGS: with the vocabulary of the shipped models (6,144 tokens); with a smaller one
(1,024); and with that one and a warm-up of 6 steps instead of 60, which is a worse recipe for all
of them, but not equally so. Losses per token cannot be compared between vocabularies, as they cut
the same text; gains of designs can. A study that is broken off goes on where it was when the
command is given again.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_course.studies.running import STUDIES, about, parser_of, rounded, runs_folder, study_page
from moe_lib.config import ModelConfig
from moe_lib.console import run_command, whole
from moe_lib.counting import count_parameters
from moe_lib.devices import device
from moe_lib.errors import require
from moe_lib.files import read_json, write_json
from moe_lib.model import LanguageModel
from moe_lib.text import Batches, encode_corpus, evaluation_batches, load_corpus, load_tokenizer
from moe_lib.text.corpora.mixture import repeat_written
from moe_lib.training import train
from moe_lib.validation import Choice, Count, Seed, checked


@dataclass(frozen=True)
class Setting:
    """One part of the study. `tokenizer` is a name of `load_tokenizer`; warmup_steps None is a
    tenth of the steps."""

    tokenizer: str
    vocab_size: int
    designs: tuple[str, ...]
    warmup_steps: int | None = None


DESIGNS = ("dense", "all on", "moe", "hash", "wide")
SETTINGS = {
    "large": Setting("mixture", 6144, ("dense", "all on", "moe", "hash")),
    "small": Setting("mixture-small", 1024, ("dense", "all on", "moe", "wide")),
    "short warm-up": Setting("mixture-small", 1024, ("dense", "all on", "moe"), warmup_steps=6),
}
STUDY = STUDIES / "moe_against_dense.json"
STEPS, SEEDS, EVERY = 600, 3, 30
LEARNING_RATE, BATCH, LENGTH = 4e-3, 16, 128


@checked
def small_config(design: str, vocab_size: Count = 6144) -> ModelConfig:
    """Three layers of mini-v2, all of them with experts, in one of the DESIGNS."""
    require(design in DESIGNS, "design", design, f"one of {', '.join(DESIGNS)}")
    config = ModelConfig.preset(
        "mini-v2", num_hidden_layers=3, first_k_dense_replace=0, vocab_size=vocab_size
    )
    if design == "dense":
        return config.dense()
    if design == "wide":
        stored = config.n_routed_experts + config.n_shared_experts
        return config.dense().replace(intermediate_size=stored * config.moe_intermediate_size)
    if design == "all on":
        return config.replace(n_routed_experts=config.num_experts_per_tok)
    if design == "hash":
        return config.replace(
            router="hash", scoring_func="softmax", norm_topk_prob=False, bias_update_speed=None
        )
    return config


@checked
def load_texts(
    rows: Count | None = 256, tokenizer: str = "mixture"
) -> tuple[torch.Tensor, list[dict]]:
    """Token ids (n, 128) to train on, and batches of `rows` rows (None: all) of the held-out text,
    always the same."""
    corpus, tokenizer = load_corpus("mixture"), load_tokenizer(tokenizer)
    practice = encode_corpus(repeat_written(corpus["train"]), tokenizer, LENGTH).input_ids
    held_out = encode_corpus(corpus["heldout"], tokenizer, LENGTH).input_ids
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))[:rows]
    return practice, evaluation_batches(held_out[order], 32)


@checked
def train_one(
    design: str,
    seed: Seed,
    practice: torch.Tensor,
    exam: list[dict],
    *,
    setting: Choice(*SETTINGS) = "large",
    steps: Count = STEPS,
    every: Count = EVERY,
    stop_after: Count | None = None,
    folder: Path | None = None,
) -> dict[int, float]:
    """Train one model; returns its held-out loss in nats per token, by step.

    setting      a name of SETTINGS; the texts are those of its tokenizer
    stop_after   end there, on the way of the longer schedule: what the full run has at that step
                 comes out
    folder       keep the state there, so that a run that is broken off goes on
    """
    torch.manual_seed(seed)
    model = LanguageModel(small_config(design, SETTINGS[setting].vocab_size)).to(device())
    warm_up = SETTINGS[setting].warmup_steps
    run = train(
        model,
        Batches(practice, BATCH, seed=seed),
        steps=steps,
        learning_rate=LEARNING_RATE,
        evaluation=exam,
        evaluate_every=every,
        folder=folder,
        progress=False,
        warmup_steps=warm_up and min(warm_up, steps),
        callback=lambda report: stop_after is not None and report.row["step"] + 1 >= stop_after,
    )
    curve = run.history.set_index(run.history["step"] + 1)["heldout_loss"].dropna()
    return {int(step): float(loss) for step, loss in curve.items()}


@checked
def run_study(
    setting: str = "large",
    steps: Count = STEPS,
    seeds: Count = SEEDS,
    every: Count = EVERY,
    rows: Count | None = 256,
    designs: Sequence[Choice(*DESIGNS)] | None = None,
    scratch: Path | None = None,
) -> dict:
    """Every design of one of the SETTINGS with every seed. Runs of one seed share their batches."""
    require(setting in SETTINGS, "setting", setting, f"one of {', '.join(SETTINGS)}")
    torch.set_num_threads(1)
    chosen = SETTINGS[setting]
    practice, exam = load_texts(rows, chosen.tokenizer)
    runs = []
    for seed in range(seeds):
        for design in designs or chosen.designs:
            folder = scratch / f"{design.replace(' ', '-')}-{seed}" if scratch else None
            curve = train_one(
                design,
                seed,
                practice,
                exam,
                setting=setting,
                steps=steps,
                every=every,
                folder=folder,
            )
            runs.append({"design": design, "seed": seed, "heldout_loss": curve})
            print(f"{setting}, seed {seed}, {design}: {list(curve.values())[-1]:.3f}", flush=True)
    heldout_tokens = LENGTH * sum(len(batch["input_ids"]) for batch in exam)
    facts = about(
        "pretraining_study",
        f"--settings {setting!r}",
        vocab_size=chosen.vocab_size,
        warmup_steps=chosen.warmup_steps,
        steps=steps,
        tokens_per_step=BATCH * LENGTH,
        train_tokens=practice.numel(),
        heldout_tokens=heldout_tokens,
        learning_rate=LEARNING_RATE,
        evaluate_every=every,
    )
    sizes = {
        design: count_parameters(small_config(design, chosen.vocab_size)).as_dict()
        for design in designs or chosen.designs
    }
    return rounded({"about": facts, "parameters": sizes, "runs": runs})


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("pretraining_study", __doc__)
    parser.add_argument("--steps", type=whole(1), default=STEPS, help="fewer steps, to try it out")
    parser.add_argument("--seeds", type=whole(1), default=SEEDS)
    parser.add_argument(
        "--settings", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS), help="only these"
    )
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, help="only these, without writing")
    parser.add_argument("--out", type=study_page, default=STUDY)
    chosen = parser.parse_args(arguments)
    every = max(1, chosen.steps // 20)
    for setting in chosen.settings:
        scratch = runs_folder(f"pretraining_study-{setting.replace(' ', '-')}-{chosen.steps}")
        designs = tuple(chosen.designs) if chosen.designs else None
        content = run_study(
            setting, chosen.steps, chosen.seeds, every, designs=designs, scratch=scratch
        )
        if not designs:  # the other settings' runs stay as they are
            others = read_json(chosen.out) if chosen.out.is_file() else {}
            write_json(chosen.out, {**others, setting: content})


if __name__ == "__main__":
    sys.exit(run_command(main))
