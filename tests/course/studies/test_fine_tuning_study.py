"""The study of fine-tuning: its files hold every case and seed, and the beginning of a run comes
out again."""

import pytest
import torch

from moe_course.studies import fine_tuning_study
from moe_course.studies.fine_tuning_study import (
    SEEDS,
    TASKS,
    all_cases,
    answer_quality,
    make_case,
    make_task,
    question_baselines,
    run_now,
    score_answers,
    study_path,
)
from moe_lib import load_checkpoint
from moe_lib.tuning import (
    Examples,
    SpanExtractor,
    draw_examples,
    encode_questions,
    finetune,
    load_comparison,
)
from moe_lib.views import TuningComparator


@pytest.mark.parametrize("task", TASKS)
def test_a_stored_study_holds_every_case_and_seed(task):
    found = load_comparison(study_path(task))
    sizes = {"intents": 1532, "sentiment": 693, "questions": 425}
    wanted = {
        (case.name, case.n_train or sizes[task], seed) for case in all_cases(task) for seed in SEEDS
    }
    assert (
        set(zip(found.runs["case"], found.runs["n_train"], found.runs["seed"], strict=True))
        == wanted
    )
    assert found.about["command"] and found.about["date"] and found.about["torch"]
    assert found.runs[found.metric].between(0, 1).all()


@pytest.mark.parametrize(
    ("name", "case_name", "labels"), [("intents", "MoE", 100), ("questions", "MoE, both", 425)]
)
def test_the_beginning_of_a_stored_run_comes_out_again(name, case_name, labels):
    """The first point of the curve: the mean loss of its first steps. Other machines differ in the
    last digits."""
    torch.set_num_threads(1)
    curve = load_comparison(study_path(name)).curves
    curve = curve[
        (curve["case"] == case_name) & (curve["n_train"] == labels) & (curve["seed"] == 0)
    ]
    last, loss = int(curve["step"].iloc[0]), curve["loss"].iloc[0]
    task = make_task(name)
    case = make_case(case_name, name, labels if name == "intents" else None)
    base, _ = load_checkpoint("mini-v2")
    torch.manual_seed(0)
    head = (case.make_head or task.make_head)(base)
    rows = draw_examples(task.train, labels, seed=0) if name == "intents" else task.train
    batches = Examples(rows, task.batch_size, seed=0)
    run = finetune(head, batches, seed=0, **case.settings, callback=lambda row: row["step"] == last)
    assert len(run.history) == last and run.history["loss"].mean() == pytest.approx(loss, abs=0.02)


def test_answer_quality_tells_finding_from_silence():
    base, tokenizer = load_checkpoint("mini-v2")
    encoded = encode_questions(
        ["Who came?", "Who left?"], ["Wim came.", "Wim came."], None, tokenizer
    )
    head = SpanExtractor(base)
    with torch.no_grad():
        head.no_answer.bias.fill_(100.0)  # always silent
    found = answer_quality(head, encoded, [["Wim"], []])
    assert 0 <= found.pop("f1_forced") <= 1  # what it would have said
    assert found == {
        "f1": 0.5,
        "exact_match": 0.5,
        "f1_answerable": 0.0,
        "exact_match_answerable": 0.0,
        "f1_unanswerable": 1.0,
        "answers": 0.0,
    }
    with torch.no_grad():
        head.no_answer.bias.fill_(-100.0)  # never silent: now forcing changes nothing
    found = answer_quality(head, encoded, [["Wim"], []])
    assert (
        found["f1_forced"] == found["f1_answerable"]
        and found["answers"] == 1
        and found["f1_unanswerable"] == 0
    )


def test_scores_of_answers_by_hand():
    found = score_answers(["Wim Tanner", "", "x", ""], [["Wim"], ["y"], [], []])
    assert found["f1"] == pytest.approx((2 / 3 + 0 + 0 + 1) / 4) and found["exact_match"] == 0.25
    assert found["f1_answerable"] == pytest.approx(1 / 3) and found["exact_match_answerable"] == 0
    assert found["f1_unanswerable"] == 0.5 and found["answers"] == 0.5


def test_baselines_of_the_questions_learn_nothing_and_are_what_the_notebook_compares_with():
    table = question_baselines("test")
    assert (
        list(table.index) == ["shared words", "never answer"]
        and table.loc["never answer", "f1"] == 0.2
    )
    assert (
        table.loc["shared words", "answers"] == 1
        and 0.05 < table.loc["shared words", "f1_answerable"] < 0.3
    )


def test_the_other_heads_are_for_questions_only():
    case = make_case("from scratch, both", "questions")
    settings = case.make_head(case.base()).settings
    assert (
        settings["match_vector"]
        and settings["compare_question"]
        and "compare_question" in str(case.describe())
    )
    settings = make_case("MoE, marks", "questions").make_head(case.base()).settings
    assert settings["match_vector"] and not settings["compare_question"]
    assert make_case("MoE", "questions").make_head is None
    with pytest.raises(ValueError, match="name: got 'MoE, marks'"):
        make_case("MoE, marks", "intents")


def test_run_now_fills_a_comparator(monkeypatch):
    """The function that notebook 12 gives its comparator, cut to one step on a small test set."""
    task = make_task("sentiment")
    small = {
        "train": task.train,
        "test": task.test.select(range(32)),
        "validation": task.validation,
    }
    monkeypatch.setattr(fine_tuning_study, "RUN_NOW_STEPS", {"sentiment": 1})
    monkeypatch.setattr(
        fine_tuning_study, "make_task", lambda name: type(task)(**{**vars(task), **small})
    )
    comparator = TuningComparator(
        {"sentiment": load_comparison(study_path("sentiment"))}, run=run_now
    )
    comparator.methods = ["dense"]
    comparator.start()
    assert comparator.wait(120) and comparator.state == "finished"
    row = comparator.comparison.runs.query("case == 'dense (run now)'").iloc[0]
    assert row["steps"] == 1 and row["seed"] == len(SEEDS) and row["n_train"] == comparator.n_train


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match="task: got 'poems'; wants one of intents, sentiment, questions"
    ):
        make_task("poems")
    with pytest.raises(ValueError, match="name: got 'huge'"):
        make_case("huge", "intents")
