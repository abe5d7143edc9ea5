"""The study of how to cut experts: its designs are as equal as they claim, and its file is what the
command writes."""

import json
import math

import pytest
import torch

from moe_course.studies.expert_designs import (
    DESIGNS,
    SCALED,
    STUDY,
    design_config,
    make_model,
    run_study,
    stored_losses,
)
from moe_lib import LanguageModel
from moe_lib.counting import count_parameters

EQUAL = ("few big", "+ shared", "+ finer", "+ both")


def experts_of(name):
    """Expert parameters stored and used per token, added up from the tensors of a real model."""
    config = design_config(name, 272)
    layer = LanguageModel(config).layers[0].feed_forward
    shared = sum(weight.numel() for weight in layer.shared.parameters()) if layer.shared else 0
    routed = sum(weight.numel() for weight in layer.experts.parameters())
    return routed + shared, routed * config.num_experts_per_tok // config.n_routed_experts + shared


def test_four_designs_store_and_use_the_same_number_of_expert_parameters():
    assert len({experts_of(name) for name in EQUAL}) == 1


def test_the_wider_control_is_as_large_per_token_as_the_finer_design_with_its_router():
    active = {name: count_parameters(design_config(name, 272)).active for name in DESIGNS}
    assert active["half as wide again"] == active["+ finer"]
    stored, used = experts_of("half as wide again")
    assert (stored, used) == tuple(1.5 * size for size in experts_of("few big"))


def test_scaled_gates_of_an_even_softmax_sum_to_one():
    for name in SCALED:
        model = LanguageModel(design_config(name, 272, scaled=True))
        torch.nn.init.zeros_(model.layers[0].feed_forward.router.weight)
        sums = model(torch.randint(0, 272, (4, 32))).routing[0].weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_models_of_one_seed_share_what_is_not_feed_forward():
    states = [
        make_model(design_config(name, 272), seed).state_dict()
        for name, seed in (("few big", 1), ("+ both", 1), ("dense", 1), ("+ both", 2))
    ]
    outside = [name for name in states[0] if ".feed_forward." not in name]
    assert any("attention.q_proj" in name for name in outside) and "embedding.weight" in outside
    for other in states[1:3]:
        assert all(torch.equal(states[0][name], other[name]) for name in outside)
    assert not torch.equal(states[0]["embedding.weight"], states[3]["embedding.weight"])
    experts = "layers.0.feed_forward.experts.down_proj"
    assert not torch.equal(states[1][experts], states[3][experts])


@pytest.fixture(scope="module")
def small_study():
    return run_study(steps=2, seeds=1, rows=4, evaluate_every=1)


@pytest.mark.parametrize("shipped", [False, True])
def test_a_study_holds_every_design_and_seed(small_study, shipped):
    study = json.loads(STUDY.read_text(encoding="utf-8")) if shipped else small_study
    wanted = {(name, False) for name in DESIGNS} | {(name, True) for name in SCALED}
    seeds = {run["seed"] for run in study["runs"]}
    found = [(run["design"], run["scaled_gates"], run["seed"]) for run in study["runs"]]
    assert sorted(found) == sorted(
        (name, scaled, seed) for name, scaled in wanted for seed in seeds
    )
    for run in study["runs"]:
        losses = run["heldout_loss"].values()
        assert all(
            1 < loss < math.log(272) + 2 for loss in losses
        )  # at worst little more than a blind guess
    assert (
        study["parameters"]["few big"]["total"]
        == count_parameters(design_config("few big", 272)).total
    )


def test_the_shipped_study_learnt_something():
    for run in json.loads(STUDY.read_text(encoding="utf-8"))["runs"]:
        first, *_, last = run["heldout_loss"].values()
        assert last < first - 0.3


def test_the_stored_losses_are_a_row_per_run_and_a_column_per_step():
    losses = stored_losses()
    assert set(losses.index.get_level_values("design")) == set(DESIGNS)
    assert list(losses.columns) == list(range(100, 1300, 100))
    assert len(losses.loc["dense", False]) == 5 and not losses.isna().any(axis=None)
    # dense falls behind in every seed, and further with every hundred steps up to the thousandth
    behind = losses.loc["dense", False] - losses.loc["few big", False]
    assert (behind[1200] > 0.1).all() and (behind.mean().loc[100:1000].diff().dropna() > 0).all()
