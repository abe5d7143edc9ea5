"""Run the check of an exercise on a learner's answer, and say what it found.

The checks themselves live in `moe_course.checks.chapter_NN`: functions of the answer, listed in a
plain dictionary `CHECKS` of that module, {"NN.k": function}. A check returns normally (or a
sentence of praise) if the answer is right, and raises through the `expect_…` helpers of `comparing`
if it is not.
"""

import importlib
import inspect
import linecache
import os
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import moe_lib
from moe_course.checks.comparisons import NotAttempted, NotYet, expect_answer
from moe_course.checks.verdicts import NOT_ATTEMPTED, NOT_YET, PASSED, Verdict
from moe_lib.errors import refusal, require

# Frames in these places are not the learner's.
_NOT_THEIRS = tuple(
    str(folder) + os.sep
    for folder in (
        Path(__file__).resolve().parents[1],
        Path(moe_lib.__file__).resolve().parent,
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    )
) + ("<frozen",)


def check(name: str, *answers) -> Verdict:
    """Check exercise `name`, such as "03.2", on the learner's answer: a function, a class or a
    value.

    Returns a Verdict, which a notebook shows when it is the last line of a cell. Nothing that the
    answer raises is raised from here, not even by `exit()`: it becomes a message with the line
    where it happened. Only a KeyboardInterrupt, the stop button, goes through. ValueError for an
    exercise that does not exist, TypeError for more or fewer answers than it asks for.
    """
    function = find_check(name)
    _require_all(name, function, answers)
    return run_check(name, function, *answers)


def _require_all(name: str, function: Callable, answers: tuple) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*answers)
    except TypeError:
        asked = [one for one in signature.parameters.values() if one.default is one.empty]
        wants = f"{len(asked)} of them, as in the check cell of exercise {name}"
        raise TypeError(refusal("answers", len(answers), wants)) from None


def find_check(name: str) -> Callable:
    """The function that checks exercise `name`; ValueError if there is none."""
    require(isinstance(name, str), "name", name, 'an exercise, such as "03.2"', TypeError)
    chapter = name.split(".")[0]
    module_name = f"moe_course.checks.chapter_{chapter}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        wants = f"an exercise of another chapter: {chapter!r} has none"
        raise ValueError(refusal("name", name, wants)) from None
    require(name in module.CHECKS, "name", name, f"one of {sorted(module.CHECKS)}")
    return module.CHECKS[name]


def run_check(name: str, function: Callable, *answers) -> Verdict:
    """Run one check function on the answers. The random state outside is left as it was."""
    try:
        for answer in answers:
            expect_answer(answer, "your answer")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            praise = function(*answers)
    except NotAttempted as stop:
        return Verdict(name, NOT_ATTEMPTED, str(stop))
    except NotImplementedError as error:
        return Verdict(name, NOT_ATTEMPTED, _unfinished(error))
    except NotYet as stop:
        return Verdict(name, NOT_YET, str(stop))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the learner's code does, the notebook goes on
        return Verdict(name, NOT_YET, _explain(error))
    return Verdict(name, PASSED, praise if isinstance(praise, str) else "")


def _unfinished(error: NotImplementedError) -> str:
    note = _last_line(error)
    if "forward" in note and "missing" in note:  # what torch says of a Module without forward
        return "Your module has no `forward` yet."
    return (
        "Write your code in the cell above, in place of `raise NotImplementedError`, and run it "
        "and this one."
    )


def _last_line(error: BaseException) -> str:
    """The error's kind and message, also of one that cannot be made a text."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _explain(error: BaseException) -> str:
    """The error in the learner's terms: its last line, and the last line of their code on the way
    to it."""
    last_line = _last_line(error)
    if isinstance(error, SystemExit):
        last_line = f"{last_line}: it ends the program; a function should return"
    frame = _learners_frame(error)
    if frame is None:
        if isinstance(error, TypeError) and "argument" in last_line:
            return f"Your function could not be called the way the check calls it. {last_line}"
        return f"The check could not use your answer: {last_line}"
    source = linecache.getline(frame.filename, frame.lineno).strip()
    where = f"line {frame.lineno} of the cell that defines it"
    return f"Your code stopped at {where}" + (f": {source}" if source else "") + f"\n{last_line}"


def _learners_frame(error: BaseException) -> traceback.FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)]
    return theirs[-1] if theirs else None
