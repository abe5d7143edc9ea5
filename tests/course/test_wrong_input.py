"""Wrong input of the course's own tools is refused by name, as in tests/wrong_input for the
library: every function that others call, one wrong argument at a time."""

import importlib
import inspect
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

import moe_course
from moe_course import check
from moe_course.notebooks.rehearsal import rehearse
from tests.course.wrong_input import making, notebooks, quizzes, stored, studies, tools
from tests.wrong_input.table import Entry, Made, cases, find

TABLES = (stored, studies, quizzes, notebooks, making, tools)
# What trains for minutes has no call that works here; its own tests train a little of it.
LONG = {
    f"moe_course.studies.{name}"
    for name in (
        "phone_book.run_study",
        "grain.run_study",
        "compression_study.run_study",
        "encoder_study.run_study",
        "expert_cache_study.run_study",
        "expert_designs.run_study",
        "upcycling_study.run_study",
        "pretraining_study.run_study",
        "fine_tuning_study.run_study",
        "fine_tuning_study.run_now",
        "generation_study.run_study",
        "generation_study.run_one",
        "parameter_efficient_study.run_study",
        "overfitting_study.run_part",
    )
} | {
    "moe_course.checkpoints.recipes.make",
    "moe_course.checkpoints.recipes.train_design",
    "moe_course.checkpoints.rate_trial.try_rates",
    "moe_course.notebooks.execution.run_notebook",
    "moe_course.data_tools.measure_tasks.measure",
}


def made_late(entry: Entry) -> Entry:
    """Files are made when their test runs, and have no name of their own in the test's."""
    wrong = {
        argument: [
            Made(f"made {place}", lambda given, make=value: make())
            if inspect.isfunction(value) and value.__name__ == "<lambda>"
            else value
            for place, value in enumerate(values)
        ]
        for argument, values in entry.wrong.items()
    }
    return replace(entry, wrong=wrong)


ENTRIES = [made_late(entry) for table in TABLES for entry in table.ENTRIES]
CASES = cases(ENTRIES)
WORKING = [entry for entry in ENTRIES if entry.name not in LONG]


@pytest.mark.parametrize("entry", WORKING, ids=[entry.name for entry in WORKING])
def test_the_call_that_the_wrong_ones_are_made_from_works(entry, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    entry.run(entry.valid())


@pytest.mark.parametrize("case", CASES, ids=[f"{n} {case[0]}" for n, case in enumerate(CASES)])
def test_a_wrong_argument_is_refused_by_its_name(case, monkeypatch):
    monkeypatch.setattr("moe_lib.training.train", too_late)
    _, entry, argument, value = case
    given = entry.valid()
    given[argument] = wrong = value.make(given) if isinstance(value, Made) else value
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        entry.run(given)
    message = str(caught.value)
    place = str(wrong) if isinstance(wrong, Path) and wrong.exists() else argument
    assert place in message or argument in message, message
    file_at_fault = isinstance(wrong, Path)  # what is wrong there may be said in other words
    assert "wants" in message or file_at_fault, message
    assert type(caught.value) in (ValueError, TypeError, FileNotFoundError), repr(caught.value)


def too_late(*_, **__):
    raise AssertionError("a wrong argument is found after training has begun")


# Rooms whose every public function is a door; of the studies, what runs one or reads one.
ROOMS = ("quizzes", "checks", "notebooks", "pictures", "checkpoints", "data_tools", "suite")
STUDY_DOORS = ("run_", "stored_", "read_", "curve_of")
# Not listed: (where, why)
EXEMPT = {
    "moe_course.checks.comparisons.": "called by checks only, with their own words",
    "moe_course.checks.clean_split.": "called by checks only, with their own words",
    "moe_course.checks.routing_mistakes.": "the mistakes that checks know",
    "moe_course.checks.exercises.run_check": "check, with a function of the test's own",
    "moe_course.quizzes.quiz_panel.": "the widget that Quiz makes of itself",
    "moe_course.quizzes.marking.require_place": "refuses, and is tested by what it refuses",
    "moe_course.quizzes.marking.code_html": "called by the panel with texts that are checked",
    "moe_course.notebooks.execution.Run": "a result",
    "moe_course.notebooks.execution.NotebookFailed": "an error",
    "moe_course.notebooks.rehearsal.Rehearsal": "a result",
    "moe_course.checkpoints.texts.": "called by the recipes only, after their own checks",
    "moe_course.checkpoints.recipes.Recipe": "the recipes are in the module, none is made outside",
    "moe_course.checkpoints.recipes.passing_step": "called by make, with its own histories",
    "moe_course.data_tools.data_card.card": "takes no argument",
    "moe_course.data_tools.task_measures.text_classifiers": "takes no argument",
    "moe_course.suite.reports.Counts": "a result",
    "moe_course.suite.reports.Report": "a result",
    "moe_course.suite.stages.": "the command `course.py test`, which has no arguments of its own",
    "moe_course.studies.upcycling_study.run_seed": "a part of run_study, after its checks",
}


def doors() -> list[str]:
    """The public functions and classes of ROOMS, and STUDY_DOORS of the studies, by name."""
    found = []
    for module in pkgutil.walk_packages(moe_course.__path__, "moe_course."):
        room = module.name.split(".")[1]
        if room not in (*ROOMS, "studies") or module.ispkg or module.name.endswith("__main__"):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            own = getattr(thing, "__module__", "") == module.name and callable(thing)
            listed = room != "studies" or name.startswith(STUDY_DOORS)
            # The check of one exercise gets whatever a learner wrote, and gives a verdict.
            listed = listed and not (room == "checks" and name.startswith("check_"))
            if own and listed and not name.startswith("_") and name != "main":
                found.append(f"{module.name}.{name}")
    return found


def test_what_others_call_has_an_entry():
    """A new function joins the table, or says in EXEMPT why there is nothing to refuse."""
    listed = {id(find(name)) for entry in ENTRIES for name in _and_its_class(entry.name)}
    missing = [
        name
        for name in doors()
        if not name.startswith(tuple(EXEMPT)) and id(find(name)) not in listed
    ]
    assert not missing, f"without an entry in tests/course/wrong_input: {missing}"


def _and_its_class(name: str) -> list[str]:
    """A method counts for its class."""
    outer = name.rpartition(".")[0]
    return [name, outer] if outer.rpartition(".")[2][:1].isupper() else [name]


def test_no_reason_is_given_for_what_is_not_there():
    known = doors()
    unused = [name for name in EXEMPT if not any(door.startswith(name) for door in known)]
    assert not unused


def test_there_are_enough_of_them():
    assert len(CASES) >= 1000


class Loud(BaseException):
    """What is no Exception, and can be raised all the same."""


@pytest.mark.parametrize(
    "leaves, says", [(SystemExit, "SystemExit"), (GeneratorExit, "Gen"), (Loud, "Loud")]
)
def test_nothing_that_an_answer_raises_leaves_the_check(leaves, says):
    def answer(*_, **__):
        raise leaves

    verdict = check("09.1", answer)
    assert verdict.status == "not yet" and says in verdict.message


def test_the_stop_button_stops_an_answer_too():
    def answer(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("09.1", answer)


class Mute(NotImplementedError):
    """An error that cannot be made a text."""

    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("base", [Mute, type("MuteType", (TypeError,), {"__str__": Mute.__str__})])
def test_an_error_without_words_is_still_a_verdict(base):
    def answer(*_, **__):
        raise base

    assert not check("09.1", answer).passed


def test_a_check_names_no_function_of_its_own_when_answers_are_missing():
    with pytest.raises(TypeError) as caught:
        check("05.2")
    assert str(caught.value).startswith("answers: got 0; wants 1")


def test_an_exercise_whose_cells_are_not_there_is_named():
    card = new_code_cell("1", metadata={"tags": ["exercise-card"]})
    setup = new_code_cell("check = print", metadata={"tags": ["setup"]})
    with pytest.raises(ValueError, match="cell 1: its exercise has no cell tagged 'exercise'"):
        rehearse(new_notebook(cells=[setup, card]))
