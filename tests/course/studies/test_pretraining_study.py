"""The study of MoE against dense: its designs are as equal as they claim, and its file is what the
command gives."""

import json
import math

import pytest
import torch

from moe_course.studies.pretraining_study import (
    DESIGNS,
    SEEDS,
    SETTINGS,
    STEPS,
    STUDY,
    load_texts,
    main,
    run_study,
    small_config,
    train_one,
)
from moe_lib import LanguageModel
from moe_lib.counting import count_parameters


@pytest.mark.parametrize("vocab_size", [1024, 6144])
def test_all_designs_but_wide_pass_a_token_through_as_many_weights(vocab_size):
    count = {design: count_parameters(small_config(design, vocab_size)) for design in DESIGNS}
    wide = count.pop("wide")
    assert wide.dense_ffn == wide.total - count["dense"].total + count["dense"].dense_ffn
    assert wide.dense_ffn == count["moe"].routed_experts + count["moe"].shared_experts
    ffn = {design: c.dense_ffn + c.chosen_experts + c.shared_experts for design, c in count.items()}
    assert len(set(ffn.values())) == 1
    assert count["all on"].total == count["all on"].active
    assert count["moe"].routed_experts == 8 * count["all on"].routed_experts


def test_all_on_leaves_nothing_to_choose():
    model = LanguageModel(small_config("all on"))
    for routing in model(torch.randint(0, 6144, (2, 8))).routing:
        assert (routing.experts.sort(-1).values == torch.tensor([0, 1])).all()


@pytest.fixture(scope="module")
def shipped():
    return json.loads(STUDY.read_text(encoding="utf-8"))


def curves_of(study):
    return {(run["design"], run["seed"]): run["heldout_loss"] for run in study["runs"]}


def expect_whole(study, setting, seeds):
    designs, size = SETTINGS[setting].designs, SETTINGS[setting].vocab_size
    assert sorted(curves_of(study)) == sorted(
        (design, seed) for design in designs for seed in range(seeds)
    )
    for run in study["runs"]:
        assert max(map(int, run["heldout_loss"])) == study["about"]["steps"]
        assert all(1 < loss < math.log(size) + 1 for loss in run["heldout_loss"].values())
    for design, sizes in study["parameters"].items():
        assert sizes["total"] == count_parameters(small_config(design, size)).total


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_shipped_study_holds_every_design_and_seed(shipped, setting):
    expect_whole(shipped[setting], setting, SEEDS)
    about = shipped[setting]["about"]
    assert about["steps"] == STEPS and about["warmup_steps"] == SETTINGS[setting].warmup_steps


def test_a_study_made_now_holds_every_design_and_seed(tmp_path):
    expect_whole(
        run_study("small", steps=2, seeds=1, every=1, rows=4, scratch=tmp_path), "small", 1
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_beginning_of_a_shipped_run_comes_out_again(shipped, setting):
    """The first measured point of one run, on as much held-out text: other machines differ in the
    last digits."""
    stored = curves_of(shipped[setting])["moe", 0]
    first = min(map(int, stored))
    torch.set_num_threads(1)
    practice, exam = load_texts(tokenizer=SETTINGS[setting].tokenizer)
    curve = train_one("moe", 0, practice, exam, setting=setting, every=first, stop_after=first)
    assert curve[first] == pytest.approx(stored[str(first)], abs=0.1)


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(
        ValueError, match="setting: got 'huge'; wants one of large, small, short warm-up"
    ):
        run_study("huge")


def test_a_part_of_the_designs_writes_nothing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "moe_course.studies.pretraining_study.run_study", lambda *a, **k: asked.append(k) or {}
    )
    main(["--designs", "moe", "--out", str(tmp_path / "study.json")])
    assert asked[0]["designs"] == ("moe",) and not (tmp_path / "study.json").exists()


def test_one_setting_leaves_the_runs_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "moe_course.studies.pretraining_study.run_study", lambda setting, *a, **k: {"runs": setting}
    )
    path = tmp_path / "study.json"
    path.write_text('{"large": {"runs": "kept"}}', encoding="utf-8")
    main(["--settings", "small", "--out", str(path)])
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "large": {"runs": "kept"},
        "small": {"runs": "small"},
    }
