"""The study of upcycling: crossings on curves made by hand, and a file that is what the command
writes."""

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
    crossing,
    crossings,
    curve_of,
    run_study,
    shifted,
    train_on,
)
from moe_lib.model import LanguageModel
from moe_lib.text import Batches, evaluation_batches
from moe_lib.training import evaluate
from moe_lib.training.upcycling import upcycle


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ({0: 4, 100: 3}, {0: 5, 100: 2.5}, 100 * 2 / 3),  # the gap goes from 1 to -0.5
        ({0: 4, 100: 3}, {0: 5, 100: 3.5}, None),
        ({0: 4, 100: 3}, {0: 4, 100: 3}, None),
        ({0: 4, 100: 3}, {0: 3, 100: 2}, 0),
        ({0: 4, 100: 4, 200: 4}, {0: 3, 100: 5, 200: 3}, 150),  # lower twice: the last time counts
        ({0: 4, 200: 4}, {0: 5, 100: 5, 200: 3}, 150),  # measured at other tokens
        (
            {100: 4, 300: 4},
            {0: 9, 200: 3, 400: 9},
            None,
        ),  # compared from 100 to 300 only, where it ends above
        ({100: 4, 300: 3}, {0: 2, 200: 2, 400: 2}, 100),
        ({0: 4, 100: 3, 200: 3}, {0: 5, 100: 3, 200: 2}, 100),
    ],
)
def test_crossing_of_curves_by_hand(first, second, wanted):
    found = crossing(first, second)
    assert found is None if wanted is None else found == pytest.approx(wanted)


def test_curves_without_a_common_stretch_are_refused():
    with pytest.raises(ValueError, match="second: got '200 to 300 tokens'"):
        crossing({0: 1, 100: 1}, {200: 1, 300: 1})
    with pytest.raises(ValueError, match="first: got {}"):
        crossing({}, {0: 1})
    assert shifted({0: 5.0, 10: 4.0}, -10) == {-10: 5.0, 0: 4.0}


def test_crossings_of_a_study_by_hand():
    curves = {
        "dense": {0: 9, 200: 5},
        "dense, trained on": {0: 5, 200: 4},
        "upcycled": {0: 5, 100: 4.6, 200: 3.6},
        "from scratch": {0: 9, 200: 4.6, 300: 4.1, 400: 3.4},
    }
    study = {
        "about": {"steps": 2, "tokens_per_step": 100},
        "runs": [{"run": run, "seed": 0, "heldout_loss": curve} for run, curve in curves.items()],
    }
    found = crossings(json.loads(json.dumps(study)))[0]  # tokens are text in a file
    assert found["upcycled below dense"] == pytest.approx(100 + 100 * 0.1 / 0.5)
    assert found["scratch, further tokens"] is None
    assert found["scratch, all tokens"] == 0  # lower all along
    with pytest.raises(ValueError, match="run, seed: got"):
        curve_of(study, "upcycled", 1)


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
    assert crossings(study).keys() == seeds


def test_the_shipped_study_learnt_something():
    study = json.loads(STUDY.read_text(encoding="utf-8"))
    for run in study["runs"]:
        losses = list(run["heldout_loss"].values())
        assert losses[-1] < losses[0] - 0.1 and losses[-1] < 6


def test_a_run_with_a_constant_learning_rate_is_the_start_of_a_longer_one():
    rows = torch.randint(0, 6144, (32, 8), generator=torch.Generator().manual_seed(0))
    exam, curves = evaluation_batches(rows[:4], 4), []
    for steps in (2, 3):
        torch.manual_seed(0)
        curves.append(
            train_on(LanguageModel(small_config("dense")), Batches(rows, 4), steps, exam, every=1)
        )
    assert curves[0].items() <= curves[1].items()
