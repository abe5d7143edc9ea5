"""The study of chapter 14: its design, its arithmetic by hand, and one stored point made again."""

import json
from itertools import combinations

import pytest
import torch

from moe_lib.course import overfitting_study as study
from moe_lib.files import read_json
from moe_lib.tuning.comparing import compare


@pytest.fixture(scope="module")
def stored():
    return read_json(study.STUDY)


def test_every_pair_of_settings_occurs_twice():
    for a, b in combinations(range(4), 2):
        pairs = [(row[a], row[b]) for row in study.DESIGN]
        assert {pair: pairs.count(pair) for pair in pairs} == dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1)], 2)
    assert (0, 0, 0, 0) in study.DESIGN and (1, 1, 1, 1) in study.DESIGN


def test_effects_by_hand():
    rows = [{"case": study.name_of(on), "seed": seed, "test_accuracy": 0.1 * on[0] - 0.2 * on[2] + 0.5 + seed}
            for seed in (0, 1) for on in study.DESIGN]  # fmt: skip
    found = study.effects(rows)
    assert found["augmentation"] == pytest.approx([0.1, 0.1]) and found["dropout"] == pytest.approx([-0.2, -0.2])
    assert found["FGM"] == pytest.approx([0, 0], abs=1e-9) and found["smoothing"] == pytest.approx([0, 0], abs=1e-9)
    with pytest.raises(ValueError, match="rows: got '3 with augmentation and 4 without'"):
        study.effects([row for row in rows if row["case"] != study.name_of((1, 1, 1, 1))])


def test_out_of_scope_texts_are_in_no_part_that_is_trained_on():
    parts, whole = study.intents(True), study.intents()
    assert "out_of_scope" in whole["train"].label_names and len(parts["train"].label_names) == 12
    unknown = {tuple(row["input_ids"]) for row in parts["unknown"].rows}
    assert len(unknown) == 30 and len(parts["test"]) == 420
    assert not unknown & {tuple(row["input_ids"]) for name in ("train", "validation") for row in parts[name].rows}


def test_the_stored_study_is_whole(stored):
    assert stored["about"]["command"] == "python -m moe_lib.course.overfitting_study"
    for part, n in (("factorial 100", 24), ("factorial 300", 24), ("factorial all", 6), ("twins", 12), ("limits", 6),
                    ("self", 9), ("active", 18)):  # fmt: skip
        assert len(stored[part]) == n, part
    assert "NaN" not in json.dumps(stored)
    for row in stored["limits"]:
        none = [one for one in row["attacks"] if one["radius"] == 0]
        assert len(none) == 2 and none[0]["accuracy"] == none[1]["accuracy"] and none[0]["flips"] == 0
    for row in stored["self"]:
        assert (row["pseudo_accuracy"] is None) == (row["pseudo"] == 0)


def test_one_stored_point_comes_out_again(stored):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = compare([study.remedy_case((0, 0, 0, 0), 100)], study.intent_task(), seeds=(1,)).runs.iloc[0]
    finally:
        torch.set_num_threads(threads)
    (row,) = [r for r in stored["factorial 100"] if (r["case"], r["seed"]) == ("none", 1)]
    assert run["test_accuracy"] == pytest.approx(row["test_accuracy"], abs=0.06)
    assert run["test_loss"] == pytest.approx(row["test_loss"], abs=0.3)
