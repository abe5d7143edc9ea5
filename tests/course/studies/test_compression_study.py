"""What is lost with fewer experts and fewer bits: the parts of a case, and the stored study."""

import pytest
import torch

from moe_course.studies import compression_study as study
from moe_lib.compression import quantise
from tests.training.small import make_model


class Few:
    """Two domains of made-up text."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.rows = {one: torch.randint(0, 20, (3, 9), generator=draw) for one in ("a", "b")}
        self.all = torch.cat(list(self.rows.values()))


def test_a_case_compares_a_model_with_the_whole_one_row_by_row():
    model = make_model().eval()
    measure = study.Measure(model, Few())
    same = measure("quantising", "nothing", 5, model)
    assert same["rise"] == same["spread"] == same["flipped"] == 0 and same["bytes"] == 5
    changed = quantise(model, {"rest": 2}).model
    found = measure("quantising", "rest", 5, changed)
    with torch.no_grad():
        rise = changed(Few().all, labels=Few().all).loss - model(Few().all, labels=Few().all).loss
    assert found["rise"] == pytest.approx(float(rise), abs=1e-5)
    assert found["rise"] == pytest.approx(sum(found["domains"].values()) / 2)
    assert measure("pruning", "x", 5, model)["flipped"] is None


def test_the_stored_study_holds_what_the_course_says_of_it():
    cases = {(case["way"], case["name"]): case for case in study.stored_cases()}
    chance = [cases["pruning", f"random {seed}"]["rise"] for seed in range(study.SEEDS)]
    assert cases["pruning", "reap"]["rise"] < min(chance)
    rise = {name: case["rise"] for (way, name), case in cases.items() if way == "quantising"}
    for part in ("experts", "router", "rest", "all"):
        assert abs(rise[f"{part}, 8 bits, nearest"]) < 0.005
        assert rise[f"{part}, 2 bits, gptq"] < rise[f"{part}, 2 bits, nearest"]
    assert rise["rest, 2 bits, nearest"] > 10 * rise["experts, 2 bits, nearest"]
    router = cases["quantising", "router, 2 bits, nearest"]
    assert router["flipped"] > 0.1 and abs(router["rise"]) < 0.02
    for draft in study.stored_drafts():
        assert (
            0 <= draft["acceptance"] <= 1 and 1 <= draft["tokens_per_pass"] <= draft["window"] + 1
        )


def test_the_comparator_shows_every_case():
    widget = study.comparator()
    assert len(widget.cases) == len(study.stored_cases())
    widget.set(group="quantising the router", case="2 bits, nearest")
    assert widget.chosen.flipped > 0.1 and "2 bits, nearest" in widget.summary
