"""Go through the exercises of a notebook as a learner does: the stub as it stands, then the
solution."""

import ast
from dataclasses import dataclass
from types import SimpleNamespace

from IPython.display import display

from moe_course.checks.verdicts import Verdict
from moe_course.notebooks.contract import exercises, tagged
from moe_course.notebooks.normalise import Notebook
from moe_lib.validation import checked


@dataclass(frozen=True)
class Rehearsal:
    """What the check of one exercise said of the stub, and of the solution."""

    exercise: str
    bug_hunt: bool
    stub: Verdict
    solution: Verdict


@checked
def rehearse(notebook: Notebook) -> list[Rehearsal]:
    """Run the cells tagged `setup`, then stub, check and solution of each exercise on a copy of
    their names.

    Runs in this process and in the current folder. Raises ValueError if no setup cell imports
    `check`. An error in a cell is raised as it is, with the cell's position as the file name.
    """
    names: dict = {"__name__": "__main__", "display": display}
    for position, cell in tagged(notebook, "setup"):
        _execute(cell.source, position, names)
    if "check" not in names:
        raise ValueError("no cell tagged 'setup' imports check")
    return [_rehearse_one(exercise, dict(names)) for exercise in exercises(notebook)]


def _rehearse_one(exercise: dict, names: dict) -> Rehearsal:
    verdicts, check = [], names["check"]

    def recording_check(name, *answers):
        verdicts.append(check(name, *answers))
        # A solution that fails is for the caller to report, so its assert_passed() must not stop us
        # here.
        return SimpleNamespace(assert_passed=lambda: None)

    missing = [kind for kind in ("exercise", "check", "solution") if kind not in exercise]
    if missing:
        position = exercise["exercise-card"][0]
        raise ValueError(f"cell {position}: its exercise has no cell tagged {missing[0]!r}")
    names["check"] = recording_check
    for kind in ("exercise", "check", "solution"):
        position, cell = exercise[kind]
        _execute(cell.source, position, names)
        wanted = {"exercise": 0, "check": 1, "solution": 2}[kind]
        if len(verdicts) != wanted:
            raise ValueError(
                f"cell {position} ({kind}) ran {len(verdicts)} checks so far; wants {wanted}"
            )
    stub, solution = verdicts
    return Rehearsal(stub.exercise, exercise["bug_hunt"], stub, solution)


def _execute(source: str, position: int, names: dict) -> None:
    exec(compile(ast.parse(source), f"<cell {position}>", "exec"), names)
