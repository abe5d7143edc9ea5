"""Compare ways of fine-tuning over seeds in one call, and get tidy frames.

names = load_task("market_sentiment", "train").features["label"].names
def encode(split): return encode_texts(split["text"], split["label"], tokenizer, label_names=names)
task = TuningTask("market sentiment", train=encode(sets["train"]), test=encode(sets["test"]),
                  make_head=lambda base: SequenceClassifier(base, len(names)))
plan = {"epochs": 3, "learning_rate": 1e-3}
cases = [Case("full", "mini-v2", n_train=n, settings=plan) for n in (100, 300)]
lora = dict(method=LoRA(rank=4), settings=plan)
cases += [Case("LoRA", "mini-v2", n_train=n, **lora) for n in (100, 300)]
domains = lambda base: pretraining_domains(base, tokenizer)
found = compare(cases, task, seeds=(0, 1, 2), pretraining=domains)
found.summary("test_accuracy"), found.paired("LoRA", "full", n_train=100), found.curves
found.save(path, command="python -m …")                   # load_comparison(path) reads it again
"""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.tuning.arguments import Device, require_batch
from moe_lib.tuning.comparison.cases import Case, TuningTask
from moe_lib.tuning.comparison.results import Comparison
from moe_lib.tuning.comparison.runs import SideEffects, run_case
from moe_lib.tuning.stratified_draw import examples_of
from moe_lib.validation import Callback, Flag, PathLike, Seed, checked


@checked
def compare(
    cases: Sequence[Case],
    task: TuningTask,
    *,
    seeds: Sequence[Seed] = (0, 1, 2),
    pretraining: Mapping[str, Iterable[dict]] | Callable[[LanguageModel], Mapping] | None = None,
    routing_text: Tensor | Mapping[str, Tensor] | None = None,
    scratch: PathLike | None = None,
    device: Device = None,
    callback: Callback = None,
    progress: Flag = False,
) -> Comparison:
    """Fine-tune every case with every seed on `task`; a row for each run.

    pretraining   {domain: list of batches}, or a function base -> that (causal and masked bases
                  need other batches; see `pretraining_domains`): the loss there after fine-tuning
                  minus before is the forgetting. The method stays attached while it is measured
    routing_text  input_ids (batch, sequence), or a dict with attention_mask too: there routing is
                  compared
    scratch       a folder that keeps every finished run: the same call goes on where it was broken
                  off. A run is taken from there only if its data, case, seed and base weights are
                  the same, and the code of the method and functions given here, as
                  `moe_lib.tuning.comparison.fingerprint` reads it: edited, they run again
    callback      called at every step with {"case", "n_train", "seed", "run" (from 0), "runs",
                  "step", "loss"}; returning True ends the comparison with the runs that are
                  complete
    progress      True: a bar over the runs

    Runs of one seed share the draw of the labels, the order of the batches and the first weights of
    the head, so that cases can be compared seed by seed. Columns of the frame: see `Comparison`.
    Raises ValueError or TypeError for bad arguments; whatever finetune raises.
    """
    cases, seeds = list(cases), list(seeds)
    _check(cases, task, seeds)
    if isinstance(pretraining, Mapping):
        require(len(pretraining) > 0, "pretraining", "no domains", "at least one, with its batches")
    if isinstance(routing_text, Mapping):
        require_batch("routing_text", routing_text)
    plan = [(case, seed) for seed in seeds for case in cases]
    effects = SideEffects(pretraining, routing_text)
    rows, curves = [], []
    for number, (case, seed) in enumerate(
        tqdm(plan, disable=not progress, unit="run", desc=task.name)
    ):
        report = _reporter(callback, case, seed, number, len(plan))
        run = run_case(case, task, seed, effects, scratch=scratch, device=device, report=report)
        if run is None:
            break
        rows.append(pd.DataFrame([run[0]]))
        curves.append(run[1])
    about = {
        "task": task.name,
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "seeds": seeds,
        "n_train": examples_of(task.train),
        "n_test": examples_of(task.test),
        "batch_size": task.batch_size,
        "cases": {f"{case.name} / {case.n_train or 'all'}": case.describe() for case in cases},
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "threads": torch.get_num_threads(),
    }
    frame, curve = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame() for parts in (rows, curves)
    )
    return Comparison(_by_case(frame, cases, task), curve, about)


def _by_case(frame: pd.DataFrame, cases: list[Case], task: TuningTask) -> pd.DataFrame:
    """Rows in the order of the cases, then of the seeds; they ran seed by seed."""
    if frame.empty:
        return frame
    order = [(case.name, case.n_train or examples_of(task.train)) for case in cases]
    place = [order.index(key) for key in zip(frame["case"], frame["n_train"], strict=True)]
    return (
        frame.assign(place=place)
        .sort_values(["place", "seed"])
        .drop(columns="place")
        .reset_index(drop=True)
    )


def _reporter(callback, case, seed, number, total):
    if callback is None:
        return lambda row: False
    shared = {
        "case": case.name,
        "n_train": case.n_train,
        "seed": seed,
        "run": number,
        "runs": total,
    }
    return lambda row: callback({**shared, "step": row["step"], "loss": row["loss"]})


def _check(cases, task, seeds) -> None:
    require(len(cases) > 0, "cases", cases, "a list of Case, at least one")
    require(
        len(seeds) > 0 and len(set(seeds)) == len(seeds), "seeds", seeds, "at least one, none twice"
    )
    every = [(case.name, case.n_train or examples_of(task.train)) for case in cases]
    twice = sorted({f"{name} with {n} examples" for name, n in every if every.count((name, n)) > 1})
    require(not twice, "cases", twice, "every pair of name and n_train once")
    for case in cases:
        if case.n_train is not None:
            enough = case.n_train <= examples_of(task.train)
            require(
                enough,
                f"n_train of {case.name!r}",
                case.n_train,
                f"at most {examples_of(task.train)}, all there are",
            )
    for side in ("train", "test"):
        require(len(getattr(task, side)) > 0, f"task.{side}", "no rows", "at least one")
