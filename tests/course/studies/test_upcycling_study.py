"""The study of upcycling: its runs are what they claim, and its file is what the command writes."""

import json

import pytest
import torch

from moe_course.studies import upcycling_study
from moe_course.studies.pretraining_study import LENGTH, small_config
from moe_course.studies.upcycling_study import (
    BATCH,
    RUNS,
    STUDY,
    Later,
    curve_of,
    run_study,
    shifted,
    train_on,
)
from moe_lib.model import LanguageModel
from moe_lib.text import Batches, evaluation_batches
from moe_lib.training import evaluate
from moe_lib.training.upcycling import upcycle


def test_curves_of_a_study_are_found_by_run_and_seed_and_shifted():
    one = {"run": "upcycled", "seed": 0, "heldout_loss": {"0": 5.0, "10": 4.0}}  # text in a file
    curve = curve_of({"runs": [one]}, "upcycled", 0)
    assert curve == {0: 5.0, 10: 4.0} and shifted(curve, -10) == {-10: 5.0, 0: 4.0}
    with pytest.raises(ValueError, match="run, seed: got"):
        curve_of({"runs": [one]}, "upcycled", 1)


def test_the_upcycled_model_starts_where_the_dense_one_stands():
    torch.manual_seed(0)
    dense = LanguageModel(small_config("dense"))
    exam = evaluation_batches(torch.randint(0, 6144, (2, 16)), 2)
    upcycled = upcycle(dense, small_config("moe"), virtual_groups=True)
    assert evaluate(upcycled, exam) == pytest.approx(evaluate(dense, exam), abs=1e-4)


def test_later_batches_are_those_after_the_first_ones():
    batches = Batches(torch.arange(40).view(20, 2), 2, seed=1)
    assert torch.equal(Later(batches, 3).at(2)["input_ids"], batches.at(5)["input_ids"])


@pytest.fixture(scope="module")
def small_study():
    rows = torch.randint(0, 6144, (64, 8), generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:  # a text of random ids spares reading the corpus
        patch.setattr(
            upcycling_study,
            "load_texts",
            lambda wanted: (rows, evaluation_batches(rows[:wanted], 4)),
        )
        return json.loads(json.dumps(run_study(steps=2, seeds=1, every=1, rows=4)))


@pytest.mark.parametrize("shipped", [False, True])
def test_a_study_holds_every_run_and_seed(small_study, shipped):
    study = json.loads(STUDY.read_text(encoding="utf-8")) if shipped else small_study
    seeds, steps = {run["seed"] for run in study["runs"]}, study["about"]["steps"]
    assert len(seeds) == (3 if shipped else 1)
    assert {(run["run"], run["seed"]) for run in study["runs"]} == {
        (run, seed) for run in RUNS for seed in seeds
    }
    for seed in seeds:
        dense, onward, upcycled, scratch = (curve_of(study, run, seed) for run in RUNS)
        assert min(dense) == min(onward) == min(upcycled) == min(scratch) == 0
        assert (
            max(dense) == max(onward) == max(upcycled) == steps * BATCH * LENGTH == max(scratch) / 2
        )
        assert onward[0] == dense[max(dense)] and upcycled[0] == pytest.approx(onward[0], abs=1e-3)


def test_the_shipped_study_learnt_something():
    study = json.loads(STUDY.read_text(encoding="utf-8"))
    for run in study["runs"]:
        losses = list(run["heldout_loss"].values())
        assert losses[-1] < losses[0] - 0.1 and losses[-1] < 6


def test_a_run_with_a_constant_learning_rate_is_the_start_of_a_longer_one(monkeypatch):
    monkeypatch.setattr(upcycling_study, "WARMUP", 2)  # as long as the shorter run
    rows = torch.randint(0, 6144, (32, 8), generator=torch.Generator().manual_seed(0))
    exam, curves = evaluation_batches(rows[:4], 4), []
    for steps in (2, 3):
        torch.manual_seed(0)
        curves.append(
            train_on(LanguageModel(small_config("dense")), Batches(rows, 4), steps, exam, every=1)
        )
    assert curves[0].items() <= curves[1].items()
