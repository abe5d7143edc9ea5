"""The study of chapter 15: its design, its arithmetic by hand, and one stored point made again."""

import json
from itertools import combinations

import pytest
import torch

from moe_course.studies import overfitting_cases
from moe_course.studies import overfitting_study as study
from moe_course.studies.overfitting_study import cases_of
from moe_lib.files import read_json
from moe_lib.tuning.comparison.compare import compare


@pytest.fixture(scope="module")
def stored():
    return read_json(study.STUDY)


def test_every_pair_of_settings_occurs_twice():
    for a, b in combinations(range(4), 2):
        pairs = [(row[a], row[b]) for row in study.DESIGN]
        assert {pair: pairs.count(pair) for pair in pairs} == dict.fromkeys(
            [(0, 0), (0, 1), (1, 0), (1, 1)], 2
        )
    assert (0, 0, 0, 0) in study.DESIGN and (1, 1, 1, 1) in study.DESIGN


def test_effects_by_hand():
    rows = [
        {
            "case": study.name_of(on),
            "seed": seed,
            "test_accuracy": 0.1 * on[0] - 0.2 * on[2] + 0.5 + seed,
        }
        for seed in (0, 1)
        for on in study.DESIGN
    ]
    found = study.effects(rows)
    assert found["augmentation"] == pytest.approx([0.1, 0.1]) and found["dropout"] == pytest.approx(
        [-0.2, -0.2]
    )
    assert found["FGM"] == pytest.approx([0, 0], abs=1e-9) and found["smoothing"] == pytest.approx(
        [0, 0], abs=1e-9
    )
    with pytest.raises(ValueError, match="rows: got '3 with augmentation and 4 without'"):
        study.effects([row for row in rows if row["case"] != study.name_of((1, 1, 1, 1))])


def test_out_of_scope_texts_are_in_no_part_that_is_trained_on():
    parts, whole = study.intents(True), study.intents()
    assert "out_of_scope" in whole["train"].label_names and len(parts["train"].label_names) == 12
    unknown = {tuple(row["input_ids"]) for row in parts["unknown"].rows}
    assert len(unknown) == 30 and len(parts["test"]) == 420
    assert not unknown & {
        tuple(row["input_ids"]) for name in ("train", "validation") for row in parts[name].rows
    }


def test_the_stored_study_is_whole(stored):
    assert stored["about"]["command"] == "python -m moe_course.studies.overfitting_study"
    sizes = {
        "factorial 100": 24,
        "factorial 300": 24,
        "factorial all": 24,
        "singles": 33,
        "averages": 3,
        "limits": 6,
        "self": 9,
        "active": 18,
        "round trip": 3,
    }
    for part, n in sizes.items():
        assert len(stored[part]) == n, part
    assert set(stored) == {"about", *study.PARTS}
    assert "NaN" not in json.dumps(stored)
    for row in stored["limits"]:
        none = [one for one in row["attacks"] if one["radius"] == 0]
        assert (
            len(none) == 2 and none[0]["accuracy"] == none[1]["accuracy"] and none[0]["flips"] == 0
        )
        assert sorted({one["radius"] for one in row["attacks"]}) == list(study.RADII)
    for row in stored["self"]:
        assert (row["pseudo_accuracy"] is None) == (row["pseudo"] == 0)
    for row in stored["round trip"]:
        assert row["texts"] == row["changed"] + row["unchanged"] + row["empty"] == 300


def test_shared_runs_are_the_same_run(stored):
    """The case "none" of 300 labels stands in two parts."""
    parts = [stored[part] for part in ("factorial 300", "singles")]
    first, *rest = [[row for row in rows if row["case"] == "none"] for rows in parts]
    assert len(first) == 3 and all(rows == first for rows in rest)


def test_the_single_remedies_are_what_they_are_called():
    cases = {case.name: case for case in cases_of("singles")}
    assert cases["weight decay"].settings["weight_decay"] > 0.01  # finetune's own
    assert (
        cases["early stopping"].settings["patience"]
        and len(cases["early stopping"].settings["validation"]) > 0
    )
    assert cases["no balance loss"].settings["balance"] is False
    assert cases["R-Drop"].method == cases["dropout"].method  # its control
    plain = cases["none"].settings
    assert all(case.settings["steps"] == plain["steps"] for case in cases.values())


def test_a_finished_run_is_kept_only_for_the_same_settings(tmp_path, monkeypatch):
    made = []
    monkeypatch.setitem(
        study.OTHERS, "averages", lambda seed, steps: made.append(steps) or [{"seed": seed}]
    )
    study.run_part("averages", steps=2, seeds=(0,), scratch=tmp_path)
    study.run_part("averages", steps=2, seeds=(0,), scratch=tmp_path)
    assert made == [2]
    study.run_part("averages", steps=3, seeds=(0,), scratch=tmp_path)
    assert made == [2, 3]
    monkeypatch.setattr(study, "EPSILON", 9.0)
    study.run_part("averages", steps=3, seeds=(0,), scratch=tmp_path)
    assert made == [2, 3, 3]


def test_a_round_trip_keeps_order_and_languages(monkeypatch):
    def fake(model, tokenizer, target):
        return lambda texts: [f"{target}:{text}" if text != "lost" else " " for text in texts]

    monkeypatch.setattr(overfitting_cases, "Translator", fake)
    halfway, found = overfitting_cases.round_trip(["one", "二", "lost", "one"])
    assert halfway == ["zh:one", "en:二", " ", "zh:one"]
    assert found.texts == ["en:zh:one", "zh:en:二", "lost", "en:zh:one"]
    assert (found.changed, found.unchanged, found.empty) == (3, 0, 1)


def test_one_stored_point_comes_out_again(stored):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = compare(
            [study.remedy_case((0, 0, 0, 0), 100)], study.intent_task(), seeds=(1,)
        ).runs.iloc[0]
    finally:
        torch.set_num_threads(threads)
    (row,) = [r for r in stored["factorial 100"] if (r["case"], r["seed"]) == ("none", 1)]
    assert run["test_accuracy"] == pytest.approx(row["test_accuracy"], abs=0.06)
    assert run["test_loss"] == pytest.approx(row["test_loss"], abs=0.4)
