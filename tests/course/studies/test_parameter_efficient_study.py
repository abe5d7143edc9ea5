"""The study of parameter-efficient tuning: its rules on small cases, and a file that is what the
command writes."""

import math

import pandas as pd
import pytest

from moe_course.studies import parameter_efficient_rates as rates
from moe_course.studies import parameter_efficient_study as study
from moe_lib.training import TrainingDiverged, load_checkpoint
from moe_lib.tuning import Comparison, load_comparison
from moe_lib.tuning.methods import ESFT, count_trainable

HEAD = 128 * 4 + 4


def test_the_rate_with_the_lowest_validation_loss_is_kept():
    rows = [
        ("LoRA 0.003", 1.2),
        ("LoRA 0.01", 0.9),
        ("ESFT 0.01", 0.5),
        ("ESFT 0.03", math.nan),
        ("full 0.001", 0.7),
    ]
    runs = pd.DataFrame(rows, columns=["case", "test_loss"])
    kept = rates.best_rates(Comparison(runs, pd.DataFrame(), {}))
    assert kept == {"LoRA": 0.01, "ESFT": 0.01, "other experts": 0.01, "full": 0.001}
    runs = pd.DataFrame([("LoRA on experts 0.03", 1.0)], columns=["case", "test_loss"])
    kept = rates.best_rates(Comparison(runs, pd.DataFrame(), {}))
    assert kept == {"LoRA on experts": 0.03, "LoRA on experts, slower": 0.01}


@pytest.mark.parametrize(
    "first, best", [((0.003, 0.01), 0.1), ((0.01, 0.03), 0.001), ((0.01,), 0.01), ((1.0,), 3.0)]
)
def test_the_ladder_is_climbed_until_the_best_rate_has_a_worse_one_on_either_side(first, best):
    losses = rates.climb(first, lambda rate: abs(math.log(rate / best)))
    place = rates.LADDER.index(best)
    assert min(losses, key=losses.get) == best
    assert (
        {rate for rate in rates.LADDER[max(0, place - 1) : place + 2]}
        <= set(losses)
        <= set(rates.LADDER)
    )


def test_a_rate_that_diverges_is_the_worst_and_has_no_row(monkeypatch):
    def broken(cases, *rest, **settings):
        if cases[0].settings["learning_rate"] > 0.02:
            raise TrainingDiverged("step 1")
        rows = pd.DataFrame([{"case": cases[0].name, "n_train": 4, "seed": 100, "test_loss": 1.0}])
        return Comparison(
            rows, pd.DataFrame(), {"task": "", "metric": "loss", "cases": {}, "seeds": [100]}
        )

    monkeypatch.setattr(study, "compare", broken)
    tried = study.try_rates({"head only": (0.01, 0.03)})
    assert list(tried.runs["case"]) == ["head only 0.01", "head only 0.003"]
    assert tried.about["diverged"] == ["head only 0.03"]


def test_the_control_has_as_many_experts_in_each_layer_and_none_of_the_chosen():
    method = ESFT({1: (0, 5), 3: (2,)})
    drawn = {seed: study.other_experts(method, 8, seed) for seed in range(4)}
    for other in drawn.values():
        for (layer, chosen), (again, experts) in zip(method.experts, other.experts, strict=True):
            assert layer == again and len(experts) == len(chosen) and not set(experts) & set(chosen)
    assert len(set(drawn.values())) > 1


def test_the_four_intents_have_their_own_numbers():
    rows = study.encoded_task("intents")
    assert rows["train"].label_names == study.INTENTS
    assert {row["labels"] for row in rows["train"].rows} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="task"):
        study.encoded_task("questions")


def test_the_stored_study_is_complete_and_its_budgets_match():
    found = load_comparison(study.STUDY)
    methods, config = study.all_methods(), load_checkpoint(study.BASE)[0].config
    assert (
        len(found.runs) == len(methods) * len(study.SEEDS)
        and (found.runs["steps"] == study.STEPS).all()
    )
    trained = found.runs.groupby("case")["trainable"].first()
    for name, method in methods.items():
        assert trained[name] == count_trainable(method, config) + HEAD
    for names, budget in (
        (("LoRA", "adapters", "LoRA on experts"), 35_000),
        (("ESFT", "other experts", "LoRA, large", "LoRA on experts, large"), 250_000),
    ):
        assert all(abs(trained[name] - budget) < 0.08 * budget for name in names)
    ranks = found.runs[found.runs["case"] == "AdaLoRA"].filter(like="test_rank_")
    assert ranks.shape == (3, 16) and (ranks.sum(axis=1) == 8 * 16).all()
    tried = load_comparison(study.RATES)
    kept = rates.best_rates(tried)
    known = {*tried.runs["case"], *tried.about["diverged"]}
    for name in rates.FIRST_RATES:  # each best rate lies inside of what was tried
        place = rates.LADDER.index(kept[name])
        assert {f"{name} {rate:g}" for rate in rates.LADDER[place - 1 : place + 2]} <= known
    assert found.about["learning_rates"] == kept and found.about["command"].endswith(
        "parameter_efficient_study"
    )


def test_one_point_again():
    """The cheapest run, "head only" with seed 0, as the command runs it."""
    found = load_comparison(study.STUDY)
    again = study.run_study(found.about["learning_rates"], ["head only"], seeds=(0,)).runs.iloc[0]
    stored = found.runs[(found.runs["case"] == "head only") & (found.runs["seed"] == 0)].iloc[0]
    assert again["test_loss"] == pytest.approx(stored["test_loss"], abs=0.03)
    assert again["test_accuracy"] == pytest.approx(stored["test_accuracy"], abs=0.04)
    assert again["forgetting"] == 0 == again["routing_change"]
