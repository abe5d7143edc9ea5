"""The recipes of the shipped checkpoints: `python -m moe_course.checkpoints.recipes mini-causal`.

Each trains a mixture of experts and, alike in everything else, the dense model of equal active
size; measures both and a unigram model on held-out text; and writes the folder
data/checkpoints/NAME with its card. A run that is broken off goes on where it was when the command
is given again.
"""

import json
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from moe_course.checkpoints.cards import write_card, write_dense_card
from moe_course.checkpoints.texts import Texts, held_out_batches
from moe_lib.config import ModelConfig
from moe_lib.console import Parser, first_paragraph, new_folder, run_command, whole
from moe_lib.counting import count_parameters
from moe_lib.errors import require
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.paths import CHECKPOINTS, REPOSITORY
from moe_lib.text import Batches
from moe_lib.text.corpora.mixture import WRITTEN_TIMES
from moe_lib.training import TrainingRun, evaluate, train
from moe_lib.training.checkpoints import save_checkpoint
from moe_lib.training.routing_record import RoutingRecord
from moe_lib.validation import Choice, Count, Flag, PathLike, checked, require_tensor


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the corpora, which are those of the Python that
    runs it."""

    name: str
    causal: bool
    corpus: str = "python"
    sequence_length: int = 128
    batch_size: int = 16
    steps: int = 1200
    learning_rate: float = 4e-3
    dense_learning_rate: float | None = None  # of the dense baseline, where it differs
    seed: int = 0
    preset: str = "mini"
    tokenizer: str = "course"
    written_times: int = 1  # how often each written document stands in the training text
    package_docs: bool = False  # train and measure on the docstrings of the pinned packages too
    evaluate_every: int | None = None  # steps between two looks at a sample of the held-out text
    ship_dense: bool = False  # keep the dense baseline as a checkpoint too, NAME-dense

    @property
    def config(self) -> ModelConfig:
        return ModelConfig.preset(self.preset, causal=self.causal)

    def design(self, kind: str) -> tuple[ModelConfig, float]:
        """The config and the peak learning rate of "moe" or "dense"."""
        if kind == "moe":
            return self.config, self.learning_rate
        return self.config.dense(), self.dense_learning_rate or self.learning_rate

    @property
    def objective(self) -> str:
        return "causal" if self.causal else "masked"


_V2 = dict(
    corpus="mixture",
    preset="mini-v2",
    tokenizer="mixture",
    written_times=WRITTEN_TIMES,
    evaluate_every=50,
    ship_dense=True,
)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("mini-causal", True),
        Recipe("mini-masked", False),
        Recipe("mini-v2", True, **_V2),
        Recipe("mini-v2-masked", False, **_V2),
    )
}
# The next bases: an epoch of the mixture and the packages' docstrings, 13 million tokens. They take
# hours each, so they are trained ahead of the chapters that will read them.
_LONG = _V2 | dict(package_docs=True, batch_size=32, steps=3200, evaluate_every=100)
NEXT_RECIPES = {
    recipe.name: recipe
    for recipe in (Recipe("mini-v2", True, **_LONG), Recipe("mini-v2-masked", False, **_LONG))
}
KINDS = ("moe", "dense")
ROUTING_FILE = "routing_over_training.safetensors"


@checked
def make(
    recipe: Recipe,
    scratch: PathLike,
    steps: Count | None = None,
    out: PathLike | None = None,
    rows: Count | None = None,
) -> dict:
    """Train, measure, and write the checkpoint with its card; returns what was measured.

    steps and rows (of each held-out text) can be cut down to try it out.
    """
    scratch, folder = Path(scratch), Path(out or CHECKPOINTS / recipe.name)
    for argument, place in (("scratch", scratch), ("out", folder)):
        require(place.is_dir() or not place.exists(), argument, str(place), "a folder")
    recipe = replace(recipe, steps=steps or recipe.steps)
    texts = Texts.of(recipe)
    runs = {kind: train_design(recipe, kind, texts, scratch) for kind in KINDS}
    measured = {kind: _describe(run) for kind, run in runs.items()}
    measured["unigram"] = {"heldout_loss": {}}
    heldout_tokens = {}
    for domain in ["all", *sorted(set(texts.heldout["domain"]))]:
        held_out = held_out_batches(texts, domain, recipe, rows)
        heldout_tokens[domain] = sum(batch["input_ids"].numel() for batch in held_out)
        for kind, run in runs.items():
            measured[kind]["heldout_loss"][domain] = evaluate(run.model, held_out)
        measured["unigram"]["heldout_loss"][domain] = unigram_loss(
            texts.train.input_ids, held_out, len(texts.tokenizer), recipe.causal
        )
    measured["about"] = {
        "recipe": asdict(recipe),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "train_tokens": texts.train.input_ids.numel(),
        "heldout_tokens": heldout_tokens,
    }
    if recipe.evaluate_every:
        measured["about"]["passes_dense_after"] = passing_step(
            *(runs[kind].history for kind in KINDS)
        )
    _write(folder, recipe.name, runs, texts.tokenizer, measured)
    if texts.watched_routing is not None:
        shutil.copy(scratch / f"{recipe.name}-moe" / ROUTING_FILE, folder / ROUTING_FILE)
    if recipe.ship_dense:
        twin = folder.with_name(f"{folder.name}-dense")
        save_checkpoint(runs["dense"].model, twin, texts.tokenizer, dtype=torch.bfloat16)
        write_dense_card(twin, recipe.name, measured)
    return measured


def passing_step(faster, slower) -> int | None:
    """The first measured step at which the history `faster` has a held-out loss as low as the last
    one of `slower`."""
    goal = slower["heldout_loss"].dropna().iloc[-1]
    passed = faster[faster["heldout_loss"] <= goal]
    return None if passed.empty else int(passed["step"].iloc[0]) + 1


@checked
def train_design(recipe: Recipe, kind: Choice(*KINDS), texts: Texts, scratch: Path) -> TrainingRun:
    """Train the "moe" or the "dense" model of a recipe in scratch/NAME-KIND, or go on there.

    Raises SystemExit if it is interrupted.
    """
    config, learning_rate = recipe.design(kind)
    folder = scratch / f"{recipe.name}-{kind}"
    batches = Batches(
        texts.train,
        recipe.batch_size,
        seed=recipe.seed,
        objective=recipe.objective,
        tokenizer=texts.tokenizer,
    )
    print(f"{folder.name}: {count_parameters(config).total:,} parameters", flush=True)
    torch.manual_seed(recipe.seed)
    model = LanguageModel(config)
    record = None
    if texts.watched_routing is not None and config.n_routed_experts:
        record = RoutingRecord(
            model, texts.watched_routing, _moments(recipe.steps), folder / ROUTING_FILE
        )
    run = train(
        model,
        batches,
        steps=recipe.steps,
        learning_rate=learning_rate,
        folder=folder,
        save_every=50,
        evaluation=texts.watched_loss,
        evaluate_every=recipe.evaluate_every,
        callback=record,
    )
    if run.interrupted:
        raise SystemExit(
            f"stopped after {len(run.history)} steps; the same command goes on from there"
        )
    return run


def _moments(steps: int) -> tuple[int, ...]:
    """When the routing is recorded: often at first, where it changes fastest."""
    return tuple(
        sorted(
            {round(steps * share) for share in (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)}
        )
    )


def _describe(run: TrainingRun) -> dict:
    count, end = count_parameters(run.model.config), run.history.tail(100)
    return {
        "parameters": count.total,
        "active": count.active,
        "train_loss_last_100": float(end["loss"].mean()),
        "max_violation_last_100": float(end["max_violation"].mean()),
        "train_minutes": float(run.history["seconds"].sum() / 60),
        "heldout_loss": {},
    }


def _write(
    folder: Path, name: str, runs: dict[str, TrainingRun], tokenizer, measured: dict
) -> None:
    save_checkpoint(
        runs["moe"].model, folder, tokenizer, dtype=torch.bfloat16
    )  # half the size; trained in float32
    write_json(folder / "measured.json", measured)
    both = runs["moe"].history.merge(runs["dense"].history, on="step", suffixes=("_moe", "_dense"))
    columns = ["step", "loss_moe", "loss_dense", "max_violation_moe"]
    curves = both[
        columns + [name for name in ("heldout_loss_moe", "heldout_loss_dense") if name in both]
    ]
    curves.round(4).to_csv(folder / "curves.csv", index=False)
    write_card(folder, name, measured)


@checked
def unigram_loss(
    train_ids: torch.Tensor, batches: list[dict], vocab_size: Count, causal: Flag
) -> float:
    """Loss of guessing every token by its frequency in the training text (plus one), in nats per
    token."""
    require_tensor("train_ids", train_ids, dtype="whole", low=0, high=vocab_size - 1)
    frequency = torch.bincount(train_ids.flatten(), minlength=vocab_size).double() + 1
    surprise = -(frequency / frequency.sum()).log()
    require(len(batches) > 0, "batches", batches, "at least one")
    labels = torch.cat(
        [(batch["labels"][:, 1:] if causal else batch["labels"]).flatten() for batch in batches]
    )
    labels = labels[labels >= 0]
    require(len(labels) > 0, "batches", "no label", "at least one")
    require_tensor("batches' labels", labels, dtype="whole", high=vocab_size - 1)
    return float(surprise[labels].mean())


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(
        prog="python -m moe_course.checkpoints.recipes", description=first_paragraph(__doc__)
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of: {', '.join(RECIPES)}; all of them if none is given",
    )
    parser.add_argument("--steps", type=whole(1), help="fewer steps, to try it out")
    parser.add_argument(
        "--next", action="store_true", help="the next bases, on the packages' docstrings too"
    )
    parser.add_argument(
        "--scratch",
        type=new_folder,
        default=REPOSITORY / "runs",
        help="where the states of the runs are kept (runs/)",
    )
    parser.add_argument(
        "--out", type=new_folder, help="write the checkpoint there instead of data/checkpoints/NAME"
    )
    parser.add_argument("--fresh", action="store_true", help="forget a run that was broken off")
    chosen = parser.parse_args(arguments)
    recipes, scratch = NEXT_RECIPES if chosen.next else RECIPES, chosen.scratch
    one = chosen.out is None or len(chosen.names) == 1
    require(one, "NAME", chosen.names, "one of them with --out, which is one folder")
    for name in chosen.names:
        require(name in recipes, "NAME", name, f"one of {', '.join(recipes)}")
    for name in chosen.names or recipes:
        if chosen.fresh:
            for kind in KINDS:
                shutil.rmtree(scratch / f"{name}-{kind}", ignore_errors=True)
        measured = make(recipes[name], scratch, chosen.steps, chosen.out)
        print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    sys.exit(run_command(main))
