"""The experiment of chapter 05 in small: what its controls control, and that a seed is a run."""

import dataclasses

import pytest
import torch

from moe_course.studies import routers_and_facts as study
from moe_lib.model import ROUTERS

EVERY = study.DESIGNS | study.CONTROLS


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in dict(FACTS=256, BATCH=64, LOOK_EVERY=4, HIDDEN=16).items():
        monkeypatch.setattr(study, name, value)


@pytest.mark.parametrize("name", EVERY)
def test_every_design_learns_something_and_a_seed_gives_the_same_run(name):
    state = torch.get_rng_state()
    learned = study.learn(EVERY[name], seed=1, steps=40)
    assert learned == study.learn(EVERY[name], seed=1, steps=40)
    assert torch.equal(state, torch.get_rng_state()), "the caller's random numbers stay"
    assert 3 / 64 < learned.recall <= 1 and learned.max_violation >= 0
    assert EVERY[name].router in ROUTERS and EVERY[name].learning_rate in study.RATES


def test_only_a_fixed_table_and_no_choice_at_all_move_nothing():
    moves = {name: study.learn(design, steps=40).moves for name, design in EVERY.items()}
    still = {name for name, number in moves.items() if number == 0}
    assert still == {"fixed table", "no choice: 2 experts, both on", "table that sees no fact"}
    anew = dataclasses.replace(EVERY["fixed table"], redraw_every=4)
    looks, share = 40 // 4 - 1, 2 * (1 - 2 / 16)  # of two experts, both new but by chance
    assert study.learn(anew, steps=40).moves == pytest.approx(looks * share, rel=0.1)


def test_a_table_that_sees_nothing_sends_all_facts_to_two_experts():
    learned = study.learn(EVERY["table that sees no fact"], steps=4)
    assert learned.max_violation == pytest.approx(16 / 2 - 1)


def test_the_best_rate_is_the_one_that_recalls_most(monkeypatch):
    monkeypatch.setattr(study, "RATES", (1e-6, 0.05))
    monkeypatch.setattr(study, "STEPS", 40)
    assert study.best_rates({"fixed table": EVERY["fixed table"]}) == {"fixed table": 0.05}
