"""The study of experts on real text: designs as equal as they claim, runs that go on and are stored
one by one, and a file that is what the command writes."""

import pytest
import torch

from moe_course.studies import experts_on_text, rows_of_text
from moe_course.studies.experts_on_text import (
    BATCH,
    DESIGNS,
    LENGTH,
    STUDY,
    Study,
    Texts,
    last_of,
    main,
    text_config,
    train_one,
)
from moe_lib import LanguageModel
from moe_lib.counting import count_parameters
from moe_lib.files import read_json, write_tensors
from moe_lib.text import Batches


@pytest.fixture(scope="module")
def texts():
    return Texts.load(steps=4, limit=40)


@pytest.fixture
def small(tmp_path):
    return Study(tmp_path / "study.json", tmp_path / "runs", 4, (0.01, 1e-5), 2)


def test_all_designs_but_wide_pass_a_token_through_as_many_weights():
    count = {design: count_parameters(text_config(design)) for design in DESIGNS}
    ffn = {d: c.dense_ffn + c.chosen_experts + c.shared_experts for d, c in count.items()}
    wide = ffn.pop("wide")
    assert len(set(ffn.values())) == 1 and wide == 11 * ffn["dense"]
    stored = count["experts"].routed_experts + count["experts"].shared_experts
    assert wide == stored and stored > 0.9 * (count["experts"].total - count["experts"].embedding)
    assert count["all on"].total == count["all on"].active


def test_the_table_decides_where_it_should():
    ids = torch.randint(0, 1024, (2, 8))
    for design, fixed in (("hash", [True] * 3), ("hash first", [True, False, False])):
        routers = [layer.feed_forward.router for layer in LanguageModel(text_config(design)).layers]
        assert [router.by_token_id for router in routers] == fixed
        routing = LanguageModel(text_config(design))(ids).routing[0]
        table = routers[0].table[ids.flatten()]
        assert torch.equal(routing.experts.sort(-1).values, table.sort(-1).values)


def test_texts_are_disjoint_and_again_is_a_part(texts):
    rows = {tuple(row) for row in texts.once.tolist()}
    assert texts.again.shape == (4 * BATCH // 5, LENGTH)
    assert {tuple(row) for row in texts.again.tolist()} <= rows
    exam = [row for batch in texts.exam for row in batch["input_ids"].tolist()]
    assert not rows & {tuple(row) for row in exam}


def test_a_run_that_stops_goes_on_and_ends_the_same(texts, tmp_path):
    how = dict(seed=0, rate=0.01, steps=4, points=2)
    given = "experts", Batches(texts.once, BATCH, seed=0), texts.exam
    whole = train_one(*given, **how)
    early = train_one(*given, **how, stop_after=2, folder=tmp_path)
    rest = train_one(*given, **how, folder=tmp_path)
    tokens = 4 * BATCH * LENGTH
    assert list(whole["heldout_loss"]) == list(whole["training_loss"]) == [tokens // 2, tokens]
    assert early["heldout_loss"][tokens // 2] == whole["heldout_loss"][tokens // 2]
    assert rest["heldout_loss"] == whole["heldout_loss"]
    assert rest["training_loss"] == whole["training_loss"]


def test_runs_are_planned_seed_by_seed_stored_one_by_one_and_not_made_twice(
    texts, small, monkeypatch
):
    plan = small.plan()
    assert plan[:2] == [("once", "dense", 0), ("once", "experts", 0)]
    assert plan[len(DESIGNS)] == ("once", "dense", 1) and len(plan) == 2 * 2 * len(DESIGNS)
    small.run("again", "hash", 1, texts)
    small.run("once", "dense", 0, texts)
    study = read_json(small.out)
    assert [run["design"] for run in study["runs"]] == ["dense", "hash"]  # in the plan's order
    assert study["rates"] == {"hash": 0.01, "dense": 0.01}  # 1e-5 learns nothing in a step
    assert study["about"]["tokens_per_epoch"]["again"] == texts.again.numel()
    assert len(small.missing()) == len(plan) - 2 and ("once", "dense", 0) not in small.missing()
    monkeypatch.setattr(experts_on_text, "train_one", lambda *a, **k: pytest.fail("made twice"))
    small.run("once", "dense", 0, texts)
    assert read_json(small.out)["runs"] == study["runs"]


def test_the_last_point_is_the_one_with_most_tokens():
    assert last_of({"10000": 3.0, "9000": 4.0}) == 3.0


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--run", "twice", "hash", "0"], "SETTING: got 'twice'"),
        (["--run", "once", "mash", "0"], "DESIGN: got 'mash'"),
        (["--run", "once", "hash", "x"], "SEED: got 'x'"),
        (["--part", "3", "2"], "K: got 3"),
    ],
)
def test_wrong_arguments_are_named_before_texts_are_read(arguments, words, tmp_path, monkeypatch):
    monkeypatch.setattr(Texts, "load", lambda: pytest.fail("texts were read"))
    with pytest.raises(ValueError, match=words.replace("(", "\\(")):
        main([*arguments, "--out", str(tmp_path / "study.json")])


def test_parts_share_no_design_and_leave_nothing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Texts, "load", lambda: None)
    made = {1: [], 2: []}
    for part, runs in made.items():
        monkeypatch.setattr(Study, "run", lambda self, *run, runs=runs: runs.append(run[:3]))
        main(["--part", str(part), "2", "--out", str(tmp_path / "study.json")])
    designs = [{design for _, design, _ in runs} for runs in made.values()]
    assert not designs[0] & designs[1]
    assert sorted(made[1] + made[2]) == sorted(Study().plan())


@pytest.mark.skipif(not STUDY.is_file(), reason="no run of this study is stored yet")
def test_what_is_stored_is_what_the_command_writes():
    study = read_json(STUDY)
    for run in study["runs"]:
        assert (run["setting"], run["design"], run["seed"]) in Study().plan()
        assert run["rate"] == study["rates"][run["design"]]
        assert all(1 < loss < 8 for loss in run["heldout_loss"].values())
    for design, sizes in study["parameters"].items():
        assert sizes["total"] == count_parameters(text_config(design)).total


def test_the_opening_is_the_first_part_of_a_run(texts, tmp_path, monkeypatch):
    """The file gives the batches of seed 0, bit for bit, and training on it makes the same curve
    as training on all rows."""
    monkeypatch.setattr(rows_of_text, "OPENING_STEPS", 2)
    monkeypatch.setattr(rows_of_text, "HELD_OUT", sum(len(b["labels"]) for b in texts.exam))
    path = tmp_path / "opening.safetensors"
    rows_of_text.write_opening(texts, path)
    opening = rows_of_text.Opening.load(path)
    whole = Batches(texts.once, BATCH, seed=0)
    for step in range(2):
        batch, expected = opening.at(step), whole.at(step)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    with pytest.raises(ValueError, match="step: got 2; wants less than 2"):
        opening.at(2)
    how = dict(seed=0, rate=0.01, steps=4, points=2, stop_after=2)
    stored = train_one("hash", whole, texts.exam, seen=texts.seen, **how)
    again = train_one("hash", opening, opening.exam, **how)
    assert again["heldout_loss"] == stored["heldout_loss"] and again["seen_loss"] is None
    assert stored["seen_loss"] > 0


def test_another_file_is_no_opening(tmp_path):
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"rows": torch.zeros(2, LENGTH)})
    with pytest.raises(ValueError, match="other.safetensors"):
        rows_of_text.Opening.load(path)
