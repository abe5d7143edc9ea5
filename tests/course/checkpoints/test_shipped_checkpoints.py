"""The checkpoints in data/checkpoints: small, complete, as good as their cards say, and remade by
their command."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
import torch

from moe_course.checkpoints.cards import write_card
from moe_course.checkpoints.recipes import RECIPES, ROUTING_FILE, make, passing_step, unigram_loss
from moe_lib import load_checkpoint, trace_routing
from moe_lib.paths import CHECKPOINTS
from moe_lib.text import encode_corpus, evaluation_batches, load_corpus
from moe_lib.training import evaluate, max_violation
from moe_lib.training.routing_record import read_routing_record

NAMES = sorted(RECIPES)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def measured(name):
    return json.loads((CHECKPOINTS / name / "measured.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def held_out(name):
    _, tokenizer = load_checkpoint(name)
    packed = encode_corpus(load_corpus(RECIPES[name].corpus, split="heldout"), tokenizer, 128)
    rows = torch.randperm(len(packed), generator=torch.Generator().manual_seed(0))[:160]
    return evaluation_batches(
        packed.input_ids[rows], 32, objective=RECIPES[name].objective, tokenizer=tokenizer
    )


TWINS = [f"{name}-dense" for name in NAMES if RECIPES[name].ship_dense]


def test_every_recipe_has_its_checkpoint_and_none_is_left_over():
    shipped = sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))
    assert shipped == sorted(
        [*NAMES, *TWINS, "mini-v2-prompted"]
    )  # the last: tests/course/studies/test_generation_study.py


@pytest.mark.parametrize("twin", TWINS)
def test_dense_twin_is_the_baseline_of_its_siblings_card(twin):
    name = twin.removesuffix("-dense")
    measured = json.loads((CHECKPOINTS / name / "measured.json").read_text(encoding="utf-8"))
    model, tokenizer = load_checkpoint(twin)
    assert model.config == RECIPES[name].config.dense()
    packed = encode_corpus(load_corpus(RECIPES[name].corpus, split="heldout"), tokenizer, 128)
    rows = torch.randperm(len(packed), generator=torch.Generator().manual_seed(0))[:160]
    sample = evaluation_batches(
        packed.input_ids[rows], 32, objective=RECIPES[name].objective, tokenizer=tokenizer
    )
    assert evaluate(model, sample) == pytest.approx(
        measured["dense"]["heldout_loss"]["all"], abs=0.4
    )
    card = (CHECKPOINTS / twin / "README.md").read_text(encoding="utf-8")
    assert f"{measured['dense']['heldout_loss']['all']:.3f}" in card and name in card


def test_files_and_size(name):
    folder = CHECKPOINTS / name
    assert {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "measured.json",
        "curves.csv",
    } <= {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12_000_000
    assert (folder / ROUTING_FILE).is_file() == bool(RECIPES[name].evaluate_every)


def test_loss_is_what_the_card_says(name, measured, held_out):
    """A sample of the held-out text: near the card's number for all of it, and far below the
    unigram model's."""
    model, _ = load_checkpoint(name)
    assert model.config == RECIPES[name].config
    loss = evaluate(model, held_out)
    assert loss == pytest.approx(measured["moe"]["heldout_loss"]["all"], abs=0.4)
    assert loss < measured["unigram"]["heldout_loss"]["all"] - 1


def test_load_is_shared_out(name, held_out):
    model, _ = load_checkpoint(name)
    for load in trace_routing(model, held_out[0]["input_ids"]).loads():
        assert (load > 0).all() and max_violation(load) < 4, (
            "no expert asleep, none doing nearly everything"
        )


def test_card_is_written_from_the_measurements(name, measured, tmp_path):
    write_card(tmp_path, name, measured)
    committed = (CHECKPOINTS / name / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == committed
    assert f"{measured['moe']['heldout_loss']['all']:.3f}" in committed
    assert (
        len((CHECKPOINTS / name / "curves.csv").read_text().splitlines())
        == measured["about"]["recipe"]["steps"] + 1
    )


def test_every_domain_is_measured_on_text_the_card_counts(name, measured):
    domains = set(load_corpus(RECIPES[name].corpus, split="heldout")["domain"]) | {"all"}
    for kind in ("moe", "dense", "unigram"):
        assert set(measured[kind]["heldout_loss"]) == domains
    assert set(measured["about"]["heldout_tokens"]) == domains
    assert measured["about"]["recipe"] == asdict(RECIPES[name])


def test_the_last_recorded_routing_is_the_shipped_models(name):
    """Nearly: the model is stored in bfloat16, which turns a few close choices."""
    path = CHECKPOINTS / name / ROUTING_FILE
    if not path.is_file():
        assert not RECIPES[name].evaluate_every
        return
    record, (model, _) = read_routing_record(path), load_checkpoint(name)
    assert record["steps"][0] == 0 and record["steps"][-1] == RECIPES[name].steps
    trace = trace_routing(model, record["input_ids"])
    for layer, recorded in zip(trace.layers, record["experts"][-1], strict=True):
        now = layer.experts.flatten(0, 1).sort(-1).values
        assert (now == recorded.long().sort(-1).values).all(-1).float().mean() > 0.95


def test_passing_step_by_hand():
    faster = pd.DataFrame({"step": [0, 9, 19, 29], "heldout_loss": [None, 4.0, 3.0, 2.0]})
    slower = pd.DataFrame({"step": [0, 9, 19, 29], "heldout_loss": [None, 5.0, 4.0, 3.0]})
    assert passing_step(faster, slower) == 20 and passing_step(slower, faster) is None


def test_unigram_loss_by_hand():
    """Frequencies 2, 1, 0 plus one: 3/6, 2/6, 1/6."""
    labels = torch.tensor([[9, 0, 1, 2, -100]])
    expected = (torch.tensor([6 / 3, 6 / 2, 6 / 1]).log().mean()).item()
    assert unigram_loss(
        torch.tensor([[0, 0, 1]]), [{"labels": labels}], 3, causal=True
    ) == pytest.approx(expected)


@pytest.mark.slow
def test_the_command_makes_a_checkpoint(tmp_path):
    measured = make(
        RECIPES["mini-masked"], tmp_path / "scratch", steps=1, out=tmp_path / "made", rows=2
    )
    model, tokenizer = load_checkpoint(tmp_path / "made")
    assert len(tokenizer) == model.config.vocab_size and measured["about"]["recipe"]["steps"] == 1
    assert set(measured["moe"]["heldout_loss"]) == {
        "all",
        "python_code",
        "python_docstrings",
        "python_reference",
    }
