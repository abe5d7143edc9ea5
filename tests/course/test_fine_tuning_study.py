"""The study of fine-tuning: its files hold every case and seed, and the beginning of a run comes out again."""

import pytest
import torch

from moe_lib import load_checkpoint
from moe_lib.course.fine_tuning_study import SEEDS, TASKS, all_cases, answer_quality, make_case, make_task, study_path
from moe_lib.tuning import Examples, SpanExtractor, draw_examples, encode_questions, finetune, load_comparison


@pytest.mark.parametrize("task", TASKS)
def test_a_stored_study_holds_every_case_and_seed(task):
    found = load_comparison(study_path(task))
    sizes = {"intents": 1532, "sentiment": 693, "questions": 425}
    wanted = {(case.name, case.n_train or sizes[task], seed) for case in all_cases(task) for seed in SEEDS}
    assert set(zip(found.runs["case"], found.runs["n_train"], found.runs["seed"], strict=True)) == wanted
    assert found.about["command"] and found.about["date"] and found.about["torch"]
    assert found.runs[found.metric].between(0, 1).all()


def test_the_beginning_of_a_stored_run_comes_out_again():
    """The first point of the curve: the mean loss of its first steps. Other machines differ in the last digits."""
    torch.set_num_threads(1)
    curve = load_comparison(study_path("intents")).curves.query("case == 'MoE' and n_train == 100 and seed == 0")
    last, loss = int(curve["step"].iloc[0]), curve["loss"].iloc[0]
    task, case = make_task("intents"), make_case("MoE", "intents", 100)
    base, _ = load_checkpoint("mini-v2")
    torch.manual_seed(0)
    head = task.make_head(base)
    batches = Examples(draw_examples(task.train, 100, seed=0), task.batch_size, seed=0)
    run = finetune(head, batches, seed=0, **case.settings, callback=lambda row: row["step"] == last)
    assert len(run.history) == last and run.history["loss"].mean() == pytest.approx(loss, abs=0.02)


def test_answer_quality_tells_finding_from_silence():
    base, tokenizer = load_checkpoint("mini-v2")
    encoded = encode_questions(["Who came?", "Who left?"], ["Wim came.", "Wim came."], None, tokenizer)
    head = SpanExtractor(base)
    with torch.no_grad():
        head.no_answer.bias.fill_(100.0)  # always silent
    found = answer_quality(head, encoded, [["Wim"], []])
    assert found == {"f1": 0.5, "exact_match": 0.5, "f1_answerable": 0.0, "f1_unanswerable": 1.0, "answers": 0.0}


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="task: got 'poems'; wants one of intents, sentiment, questions"):
        make_task("poems")
    with pytest.raises(ValueError, match="name: got 'huge'"):
        make_case("huge", "intents")
