"""The study of MoE against dense: its designs are as equal as they claim, and its file is what the command gives."""

import json
import math

import pytest
import torch

from moe_lib import LanguageModel
from moe_lib.counting import count_parameters
from moe_lib.course.pretraining_study import (
    DESIGNS,
    SEEDS,
    STEPS,
    STUDY,
    load_texts,
    main,
    passing_share,
    run_study,
    small_config,
    train_one,
)  # fmt: skip


def test_all_designs_pass_a_token_through_as_many_weights():
    count = {design: count_parameters(small_config(design)) for design in DESIGNS}
    ffn = {design: c.dense_ffn + c.chosen_experts + c.shared_experts for design, c in count.items()}
    assert len(set(ffn.values())) == 1
    assert count["all on"].total == count["all on"].active
    assert count["moe"].routed_experts == 8 * count["all on"].routed_experts


def test_all_on_leaves_nothing_to_choose():
    model = LanguageModel(small_config("all on"))
    for routing in model(torch.randint(0, 6144, (2, 8))).routing:
        assert (routing.experts.sort(-1).values == torch.tensor([0, 1])).all()


def test_passing_share_by_hand():
    slower = {"10": 5.0, "20": 4.0, "30": 3.5, "40": 3.0}
    assert passing_share({"10": 4.0, "20": 3.1, "30": 3.0, "40": 2.0}, slower) == 0.75  # the first of two
    assert passing_share({"10": 4.0, "20": 3.9, "30": 3.8, "40": 3.7}, slower) is None
    with pytest.raises(ValueError, match="empty curve"):
        passing_share({}, slower)


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    return run_study(steps=2, seeds=1, every=1, rows=4, scratch=tmp_path_factory.mktemp("scratch"))


@pytest.mark.parametrize("shipped", [False, True])
def test_a_study_holds_every_design_and_seed(small_study, shipped):
    study = json.loads(STUDY.read_text(encoding="utf-8")) if shipped else small_study
    seeds = range(SEEDS if shipped else 1)
    found = [(run["design"], run["seed"]) for run in study["runs"]]
    assert sorted(found) == sorted((design, seed) for design in DESIGNS for seed in seeds)
    assert not shipped or study["about"]["steps"] == STEPS
    for run in study["runs"]:
        assert max(map(int, run["heldout_loss"])) == study["about"]["steps"]
        assert all(1 < loss < math.log(6144) + 1 for loss in run["heldout_loss"].values())
    for design, sizes in study["parameters"].items():
        assert sizes["total"] == count_parameters(small_config(design)).total


def test_the_beginning_of_a_shipped_run_comes_out_again():
    """The first measured point of one run, on as much held-out text: other machines differ in the last digits."""
    study = json.loads(STUDY.read_text(encoding="utf-8"))
    run = next(run for run in study["runs"] if (run["design"], run["seed"]) == ("moe", 0))
    first = min(map(int, run["heldout_loss"]))
    torch.set_num_threads(1)
    practice, exam = load_texts()
    curve = train_one("moe", 0, practice, exam, every=first, stop_after=first)
    assert curve[first] == pytest.approx(run["heldout_loss"][str(first)], abs=0.1)


def test_a_part_of_the_designs_writes_nothing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("moe_lib.course.pretraining_study.run_study", lambda *a, **k: asked.append(k) or {})
    main(["--designs", "moe", "--out", str(tmp_path / "study.json")])
    assert asked[0]["designs"] == ("moe",) and not (tmp_path / "study.json").exists()
    main(["--out", str(tmp_path / "study.json")])
    assert (tmp_path / "study.json").exists()
