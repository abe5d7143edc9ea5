"""The recipes of the next bases, cut down: what they read, their trial of rates, their card."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from moe_course.checkpoints.cards import write_card
from moe_course.checkpoints.rate_trial import best_rate, try_rates
from moe_course.checkpoints.recipes import NEXT_RECIPES, train_design
from moe_course.checkpoints.texts import Texts
from moe_lib.paths import CHECKPOINTS

SMALL = dict(corpus="arithmetic", package_docs=False, batch_size=4, sequence_length=32)


@pytest.fixture(scope="module", params=sorted(NEXT_RECIPES))
def recipe(request):
    return replace(NEXT_RECIPES[request.param], **SMALL)


@pytest.fixture(scope="module")
def texts(recipe):
    return Texts.of(recipe)


@pytest.mark.parametrize("kind", ["moe", "dense"])
def test_the_trial_measures_each_rate_once_and_the_training_takes_the_best(
    recipe, texts, kind, tmp_path
):
    losses = try_rates(recipe, kind, texts, tmp_path, rates=(1e-5, 4e-3), steps=3)
    assert set(losses) == {"1e-05", "0.004"} and best_rate(losses) == 4e-3
    kept = tmp_path / f"{recipe.name}-{kind}-3-steps.json"
    kept.write_text(json.dumps({**losses, "1e-05": 0.5}))  # measured before: not again
    assert try_rates(recipe, kind, texts, tmp_path, rates=(1e-5, 4e-3), steps=3)["1e-05"] == 0.5
    tuned = replace(recipe, steps=2, learning_rate=1e-3, dense_learning_rate=2e-3)
    run = train_design(tuned, kind, texts, tmp_path)
    assert run.history["learning_rate"].max() == {"moe": 1e-3, "dense": 2e-3}[kind]
    assert run.history["heldout_loss"].notna().iloc[-1]
    again = train_design(tuned, kind, texts, tmp_path)  # finished: comes back at once, the same
    assert again.history.equals(run.history)
    for one, other in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_bases_see_twelve_million_tokens_and_differ_in_the_objective_alone():
    moe, masked = NEXT_RECIPES["mini-v2"], NEXT_RECIPES["mini-v2-masked"]
    for recipe in (moe, masked):
        assert recipe.steps * recipe.batch_size * recipe.sequence_length >= 12_000_000
        assert recipe.package_docs and recipe.corpus == "mixture"
    assert replace(masked, name="mini-v2", causal=True) == moe


def test_the_card_names_the_packages_and_both_rates(tmp_path):
    measured = json.loads((CHECKPOINTS / "mini-v2" / "measured.json").read_text(encoding="utf-8"))
    measured["about"]["recipe"] = asdict(
        replace(NEXT_RECIPES["mini-v2"], learning_rate=8e-3, dense_learning_rate=2e-3)
    )
    write_card(tmp_path, "mini-v2", measured)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "`package_docs`" in card and "0.008 (dense: 0.002)" in card
