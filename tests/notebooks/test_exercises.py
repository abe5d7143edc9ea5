"""Exercises of each ready notebook: no stub passes, the broken code fails, every solution
passes."""

import importlib
from pathlib import Path

import matplotlib
import pytest

from moe_course import CHAPTERS
from moe_course.notebooks import normalise as form
from moe_course.notebooks.rehearsal import rehearse

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
READY = [chapter for chapter in CHAPTERS if chapter.ready]


@pytest.fixture(scope="module", params=READY, ids=lambda chapter: chapter.number)
def rehearsals(request):
    matplotlib.use("Agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(NOTEBOOKS)
        results = rehearse(form.read(NOTEBOOKS / request.param.filename))
    assert results, f"{request.param.filename} has no exercises"
    return results


def test_stub_is_not_attempted_and_broken_code_fails(rehearsals):
    for result in rehearsals:
        wanted = "not yet" if result.bug_hunt else "not attempted"
        assert result.stub.status == wanted, result.stub


def test_broken_code_is_told_what_is_wrong_and_not_that_it_crashed(rehearsals):
    for result in rehearsals:
        if result.bug_hunt:
            assert len(result.stub.message) >= 20 and "Your code stopped" not in result.stub.message


def test_solution_passes(rehearsals):
    for result in rehearsals:
        assert result.solution.passed, result.solution


def test_every_check_is_used_by_its_notebook(rehearsals):
    chapter = rehearsals[0].exercise.split(".")[0]
    module = importlib.import_module(f"moe_course.checks.chapter_{chapter}")
    assert sorted(module.CHECKS) == sorted(result.exercise for result in rehearsals)
