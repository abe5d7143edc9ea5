"""The phone book: what a batch holds, what counts as known, and that equal work is equal work."""

import math

import pytest
import torch

from moe_course.studies import phone_book as study
from moe_lib.counting import count_parameters
from moe_lib.files import read_json


def test_an_epoch_holds_every_fact_once_and_the_next_another_order():
    book = study.PhoneBook(300, seed=1, batch_size=128)
    assert len(book) == 3
    epochs = [torch.cat([book.at(e * 3 + i)["input_ids"] for i in range(3)]) for e in (0, 1)]
    for rows in epochs:
        assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, book.input_ids.tolist()))
    assert not torch.equal(*epochs)
    assert torch.equal(book.at(4)["input_ids"], book.at(4)["input_ids"])


def test_pairs_of_names_are_distinct_and_only_the_number_is_asked_for():
    book = study.PhoneBook(2000)
    pairs = {(first, last) for first, last, _ in book.input_ids.tolist()}
    assert len(pairs) == 2000
    first, last, number = book.input_ids.unbind(1)
    assert first.max() < study.NAMES <= last.min() and last.max() < 2 * study.NAMES <= number.min()
    assert (book.labels[:, :2] == -100).all() and torch.equal(book.labels[:, 2], number)


def test_more_facts_than_pairs_are_refused():
    with pytest.raises(ValueError, match="n_facts: got 16385; wants .* from 1 to 16384"):
        study.PhoneBook(study.NAMES**2 + 1)


def test_known_counts_the_numbers_said_and_the_bits_left():
    """A model that says one number for everything, and gives it probability 1/2."""
    book = study.PhoneBook(64)

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.any = torch.nn.Parameter(torch.zeros(1))

        def forward(self, ids):
            logits = torch.zeros(*ids.shape, book.vocab_size)
            logits[..., 2 * study.NAMES] = math.log(study.NUMBERS - 1)  # p = 1/2 for number 0
            return type("Output", (), {"logits": logits})

    known, bits = book.known(One())
    right = book.input_ids[:, 2] == 2 * study.NAMES
    assert torch.equal(known, right)
    share = right.double().mean().item()
    other = math.log2(2 * (study.NUMBERS - 1))
    assert bits == pytest.approx(share * 1 + (1 - share) * other, rel=1e-5)


def test_all_designs_but_the_wide_one_send_a_token_through_equally_many_hidden_units():
    for design, fields in study.DESIGNS.items():
        if fields.get("n_routed_experts"):
            active = fields["num_experts_per_tok"] * fields["moe_intermediate_size"]
        else:
            active = fields["intermediate_size"]
        assert active == (16 if design == "wide" else 2) * study.WIDTH, design
    stored = {name: count_parameters(study.design_config(name)).total for name in study.DESIGNS}
    assert stored["16 experts"] > stored["8 experts"] > stored["dense"]
    slices = stored["64 slices, 8 on"] - stored["16 experts"]  # finer experts need more router rows
    assert slices == (64 - 16) * study.HIDDEN


def test_a_rule_holds_for_pairs_that_were_not_shown():
    book = study.RuleBook(4000, seed=2)
    assert len(book.input_ids) + len(book.unseen_ids) == study.NAMES**2
    shown = {tuple(row) for row in book.input_ids[:, :2].tolist()}
    assert not shown & {tuple(row) for row in book.unseen_ids[:, :2].tolist()}
    # Who beats whom is one order of all names: no three names beat each other in a circle.
    wins = {}
    for first, _, answer in torch.cat([book.input_ids, book.unseen_ids]).tolist():
        wins[first] = wins.get(first, 0) + (answer == 2 * study.NAMES + 1)
    beaten = {
        first: {last for f, last, a in book.unseen_ids.tolist() if f == first and a % 2}
        for first in list(wins)[:20]
    }
    ordered = sorted(beaten, key=wins.get)
    for lower, higher in zip(ordered, ordered[1:], strict=False):
        asked = {last for f, last, _ in book.unseen_ids.tolist() if f == higher}
        assert (beaten[lower] & asked) <= beaten[higher]


def test_more_facts_are_shown_in_more_steps_and_fewer_never_in_less():
    assert study.steps_for(study.TABLE) == study.steps_for(1024) == study.STEPS
    assert study.steps_for(2 * study.TABLE) == 2 * study.STEPS


def test_the_study_keeps_its_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "DESIGNS", {n: study.DESIGNS[n] for n in ("dense", "32 experts")})
    monkeypatch.setattr(study, "RATES", (0.01,))
    options = dict(table=256, facts=(128,), seeds=1, steps=20, kept=tmp_path)
    found = study.run_study(**options)
    recall = {(run["design"], run["n_facts"]): run["recall"] for run in found["runs"]}
    assert len(recall) == 4
    assert all(2 / study.NUMBERS < one <= 1 for one in recall.values())  # more than guessing
    kept = sorted(path.name for path in tmp_path.glob("*.json"))
    both = [f"{design}-{n}-0.json" for design in ("32-experts", "dense") for n in (128, 256)]
    rates = ["rate-32-experts.json", "rate-dense.json"]
    assert kept == sorted([*both, *rates, "rule-dense-0.json", "rule-rate-dense.json"])
    assert read_json(tmp_path / "dense-256-0.json")["run"]["recall"] == recall["dense", 256]
    assert [run["design"] for run in found["rule"]] == ["dense"]  # of RULE
    assert 0.3 < found["rule"][0]["unseen_recall"] <= 1
    assert study.run_study(**options)["runs"] == found["runs"]


def test_the_stored_study_holds_what_the_course_says_of_it():
    runs = study.stored_runs()
    table = runs[runs["n_facts"] == study.TABLE].groupby("design")
    assert set(table.groups) == set(study.DESIGNS) and (table.size() == study.SEEDS).all()
    recall = table["recall"]
    gain = recall.min()["32 experts"] - recall.max()["dense"]
    spread = (recall.max() - recall.min())[["dense", "32 experts"]].max()
    assert gain > 5 * spread
    assert abs(recall.mean()["2 experts, both on"] - recall.mean()["dense"]) < 2 * spread
    # collapse costs recall in every seed
    uncured, cured = (table.get_group(name) for name in ("16, no cure", "16 experts"))
    assert (cured["recall"].to_numpy() > uncured["recall"].to_numpy()).all()
    assert uncured["max_violation"].min() > 2 * cured["max_violation"].max()
    # dense breaks first, and on a rule experts bring nothing
    means = runs.groupby(["design", "n_facts"])["recall"].mean()
    assert means["dense", 4096] > 0.99 and means["dense", 8192] < 0.6 < means["32 experts", 8192]
    rule = study.stored_rule().groupby("design")["unseen_recall"]
    assert rule.min()["16 experts"] > 0.9 and rule.mean()["16 experts"] < rule.max()["dense"]
    # what a model holds, by hand: 6 bits a fact less what is left
    row = runs.iloc[0]
    held = row["n_facts"] * (6 - row["bits"]) / row["parameters"]
    assert row["bits_per_parameter"] == pytest.approx(held)
