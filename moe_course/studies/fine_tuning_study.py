"""Three tasks, fine-tuned with three seeds: pretrained or from scratch, experts or dense, few
labels or all.

    python -m moe_course.studies.fine_tuning_study       writes data/studies/fine_tuning_*.json (35
                                                         minutes of one core)

    intents     13 intents of customer messages, support_intent
    sentiment   headlines and posts, market_sentiment
    questions   the answer to a question, marked in a passage, qa_spans

The cases:

    MoE            mini-v2: 16 experts, two per token
    dense          mini-v2-dense: equal active size, trained alike. The fair partner of "MoE"
    masked MoE     mini-v2-masked: sees both sides of a token
    from scratch   mini-v2's design with random weights: what the labelled texts alone can teach
    …, marks       questions only: words that the question has too are marked for the model
                   (match_vector)
    …, both        the same, and tokens are compared with the question (compare_question): see
                   `SpanExtractor`. From scratch as the control

All of a model is trained. A study that is broken off goes on where it was when the command is given
again.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from moe_course.studies.running import STUDIES, Report, command_of, parser_of, runs_folder
from moe_lib.config import ModelConfig
from moe_lib.console import run_command
from moe_lib.devices import device
from moe_lib.errors import require
from moe_lib.model import LanguageModel
from moe_lib.text import load_task, load_tokenizer
from moe_lib.tuning import (
    Case,
    Comparison,
    Encoded,
    SequenceClassifier,
    SpanExtractor,
    TuningTask,
    compare,
    encode_questions,
    encode_texts,
    exact_match,
    predict_answers,
    span_f1,
)
from moe_lib.tuning.overlap import overlap_answers
from moe_lib.tuning.stratified_draw import examples_of
from moe_lib.validation import Callback, Choice, Count, Seed, Texts, checked

TASKS = ("intents", "sentiment", "questions")
SEEDS = (0, 1, 2)
BASES = {"MoE": "mini-v2", "dense": "mini-v2-dense", "masked MoE": "mini-v2-masked"}
SPAN_HEADS = {
    ", marks": {"match_vector": True},
    ", both": {"match_vector": True, "compare_question": True},
}
LEARNING_RATE = {"intents": 2e-3, "sentiment": 2e-3, "questions": 1e-3}
EPOCHS = {
    "intents": {None: 3, 300: 10, 100: 20},
    "sentiment": {None: 5},
    "questions": {None: 2},
}  # by labels
RUN_NOW_STEPS = {"intents": 30, "sentiment": 30, "questions": 15}
COLUMNS = {"intents": ("support_intent", "intent"), "sentiment": ("market_sentiment", "label")}


def study_path(task: str) -> Path:
    """Where the study of one of TASKS is stored."""
    require(task in TASKS, "task", task, f"one of {', '.join(TASKS)}")
    return STUDIES / f"fine_tuning_{task}.json"


def make_task(task: str) -> TuningTask:
    """One of TASKS, encoded with the tokenizer "mixture". The test split is measured at the end of
    a run only."""
    require(task in TASKS, "task", task, f"one of {', '.join(TASKS)}")
    if task == "questions":
        return _question_task()
    name, column = COLUMNS[task]
    splits, tokenizer = load_task(name), load_tokenizer("mixture")
    names = splits["train"].features[column].names
    encoded = {
        side: encode_texts(rows["text"], rows[column], tokenizer, label_names=names)
        for side, rows in splits.items()
    }
    return TuningTask(
        task,
        encoded["train"],
        encoded["test"],
        lambda base: SequenceClassifier(base, len(names)),
        validation=encoded["validation"],
        batch_size=32,
    )


def _question_task() -> TuningTask:
    splits, tokenizer = load_task("qa_spans"), load_tokenizer("mixture")
    encoded = {
        side: encode_questions(
            rows["question"], rows["context"], rows["answers"], tokenizer, mark_shared_words=True
        )
        for side, rows in splits.items()
    }
    accepted = {
        encoded[side].contexts: [answer["text"] for answer in rows["answers"]]
        for side, rows in splits.items()
    }
    return TuningTask(
        "questions",
        encoded["train"],
        encoded["test"],
        SpanExtractor,
        measure=lambda head, rows: answer_quality(head, rows, accepted[rows.contexts]),
        metric="f1",
        validation=encoded["validation"],
        batch_size=8,
    )


def answer_quality(
    head: SpanExtractor, encoded: Encoded, accepted: Sequence[Sequence[str]]
) -> dict[str, float]:
    """The numbers of `score_answers` over all questions of `encoded`, and f1_forced: F1 over those
    with an answer if the head must always answer. It tells finding the place from deciding whether
    there is one.

    accepted   by the number of the example: its accepted answers; empty for none
    """
    best = predict_answers(head, encoded, threshold=-float("inf"))
    asked = [accepted[example] for example in sorted({row["example"] for row in encoded.rows})]
    found = score_answers([answer.text if answer.margin > 0 else "" for answer in best], asked)
    return {
        **found,
        "f1_forced": score_answers([answer.text for answer in best], asked)["f1_answerable"],
    }


@checked
def score_answers(said: Texts, asked: Sequence[Texts]) -> dict[str, float]:
    """f1 and exact_match; f1 and exact match over the questions with an answer, and f1 over those
    without (there it is the share of "no answer"); answers, the share of questions that get an
    answer. nan where there is no such question.

    said   one text per question, "" for no answer; asked: the accepted answers of each, empty for
           none
    """
    found = {"f1": span_f1(said, asked), "exact_match": exact_match(said, asked)}
    for name, wanted in (("answerable", True), ("unanswerable", False)):
        pairs = [(s, a) for s, a in zip(said, asked, strict=True) if bool(a) == wanted]
        found[f"f1_{name}"] = span_f1(*zip(*pairs, strict=True)) if pairs else float("nan")
        if wanted:
            found["exact_match_answerable"] = (
                exact_match(*zip(*pairs, strict=True)) if pairs else float("nan")
            )
    return {**found, "answers": sum(map(bool, said)) / len(said)}


@checked
def question_baselines(split: str = "test") -> pd.DataFrame:
    """`score_answers` of two answerers that learn nothing: "shared words" (`overlap_answers`), and
    "never answer"."""
    rows = load_task("qa_spans", split)
    asked = [answer["text"] for answer in rows["answers"]]
    said = {
        "shared words": overlap_answers(rows["question"], rows["context"]),
        "never answer": [""] * len(asked),
    }
    return pd.DataFrame({name: score_answers(texts, asked) for name, texts in said.items()}).T


def scratch_model() -> LanguageModel:
    """mini-v2's design with fresh weights."""
    return LanguageModel(ModelConfig.preset("mini-v2"))


def span_head(base: LanguageModel, **options) -> SpanExtractor:
    """The head of a case that ends on one of SPAN_HEADS."""
    return SpanExtractor(base, **options)


@checked
def make_case(name: str, task: Choice(*TASKS), n_train: Count | None = None) -> Case:
    """A case of the study, with so many labels (None: all): a name of BASES or "from scratch"; for
    questions, one of SPAN_HEADS may follow."""
    ending = next((end for end in SPAN_HEADS if task == "questions" and name.endswith(end)), "")
    plain, known = name.removesuffix(ending), [*BASES, "from scratch"]
    require(plain in known, "name", name, f"one of {', '.join(known)}")
    known = EPOCHS[task]
    require(n_train in known, "n_train", n_train, f"one of {', '.join(map(str, known))}")
    settings = {"epochs": known[n_train], "learning_rate": LEARNING_RATE[task]}
    return Case(
        name,
        BASES.get(plain, scratch_model),
        n_train=n_train,
        settings=settings,
        make_head=partial(span_head, **SPAN_HEADS[ending]) if ending else None,
    )


@checked
def all_cases(task: Choice(*TASKS)) -> list[Case]:
    """Every base with all labels; for intents MoE and dense with few, too; for questions two with
    another head."""
    names = [*BASES, "from scratch"]
    names += ["MoE, both", "from scratch, both"] if task == "questions" else []
    cases = [make_case(name, task) for name in names]
    few = (
        [make_case(name, task, n) for n in (100, 300) for name in ("MoE", "dense")]
        if task == "intents"
        else []
    )
    return few + cases


@checked
def run_study(
    task: Choice(*TASKS),
    cases: Sequence[Case],
    seeds: Sequence[Seed] = SEEDS,
    scratch: Path | None = None,
    callback: Callback = None,
) -> Comparison:
    """Fine-tune the cases with the seeds on one thread; how the routing of 64 validation texts
    changes is measured."""
    require(len(cases) > 0, "cases", cases, "at least one Case")
    torch.set_num_threads(1)
    made = make_task(task)
    longest = max(len(row["input_ids"]) for row in made.validation.rows[:64])
    rows = [row["input_ids"] for row in made.validation.rows[:64]]
    text = {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        ),
    }
    return compare(
        cases,
        made,
        seeds=seeds,
        routing_text=text,
        scratch=scratch,
        callback=callback,
        device=device(),
    )


@checked
def run_now(
    task: Choice(*TASKS), methods: Texts, n_train: Count, report: Callable[[dict], bool | None]
) -> Comparison:
    """What a comparator's "Run it now" starts: the named cases with so many labels, one seed that
    is not among SEEDS, cut to RUN_NOW_STEPS steps: seconds, not the stored minutes. `report` is
    compare's callback."""
    made = make_task(task)
    labels = None if n_train == examples_of(made.train) else n_train
    cut = {"steps": RUN_NOW_STEPS[task], "learning_rate": LEARNING_RATE[task]}
    cases = [replace(make_case(name, task, labels), settings=cut) for name in methods]
    return compare(
        cases, replace(made, validation=None), seeds=(len(SEEDS),), callback=report, device=device()
    )


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("fine_tuning_study", __doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--cases", nargs="+", help="only these, without writing")
    chosen = parser.parse_args(arguments)
    named = {task: [case.name for case in all_cases(task)] for task in chosen.tasks}
    for task, name in product(named, chosen.cases or ()):  # before the first hour of training
        wants = f"one of {', '.join(dict.fromkeys(named[task]))} for {task}"
        require(name in named[task], "--cases", name, wants)
    for task in chosen.tasks:
        cases = [
            case for case in all_cases(task) if chosen.cases is None or case.name in chosen.cases
        ]
        found = run_study(task, cases, scratch=runs_folder("fine_tuning_study"), callback=Report())
        print(found.summary([found.metric, "gap", "cpu_seconds"]).round(3).to_string(), flush=True)
        if chosen.cases is None:
            found.save(study_path(task), command=command_of("fine_tuning_study"))


if __name__ == "__main__":
    sys.exit(run_command(main))
