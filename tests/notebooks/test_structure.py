"""Every ready chapter keeps the contract of a notebook; every notebook is listed and collected."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from nbval.plugin import find_metadata_tags

from moe_course import CHAPTERS, quiz
from moe_course.notebooks import contract
from moe_course.notebooks import normalise as form

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
READY = [chapter for chapter in CHAPTERS if chapter.ready]


@pytest.fixture(scope="module", params=READY, ids=lambda chapter: chapter.number)
def chapter(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(chapter):
    path = NOTEBOOKS / chapter.filename
    assert path.is_file(), f"{chapter.filename} is listed as ready and missing"
    return form.read(path)


def test_first_four_chapters_are_ready():
    assert {"00", "01", "02", "03"} <= {chapter.number for chapter in READY}


def test_header_table_and_cold_open(notebook, chapter):
    assert contract.header_problems(notebook, chapter) == []


def test_executed_from_a_fresh_kernel(notebook):
    assert contract.execution_problems(notebook) == []


def test_normalised_and_small(notebook, chapter):
    assert contract.form_problems(notebook, NOTEBOOKS / chapter.filename) == []


def test_cells_are_short_and_use_nothing_forbidden(notebook):
    assert contract.source_problems(notebook) == []


def test_every_import_is_there(notebook):
    missing = []
    for index, cell in contract.code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                wanted = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                wanted = [(node.module, alias.name) for alias in node.names]
            else:
                continue
            missing += [(index, *pair) for pair in wanted if not can_import(*pair)]
    assert missing == []


def can_import(module: str, name: str | None) -> bool:
    try:
        found = importlib.import_module(module)
        return (
            name is None
            or hasattr(found, name)
            or bool(importlib.util.find_spec(f"{module}.{name}"))
        )
    except ImportError:
        return False


def test_outputs_are_clean(notebook):
    assert contract.output_problems(notebook) == []


def test_cells_to_compare_show_text(notebook):
    assert contract.marking_problems(notebook) == []


def test_nbval_compares_what_carries_the_tag():
    options = find_metadata_tags({"tags": ["solution", contract.SAME_EVERYWHERE]})
    assert dict(options) == {"check": True}


def test_every_notebook_has_cells_to_compare_and_the_course_many():
    marked = {
        chapter.number: len(
            contract.tagged(form.read(NOTEBOOKS / chapter.filename), contract.SAME_EVERYWHERE)
        )
        for chapter in READY
    }
    assert min(marked.values()) >= 2 and sum(marked.values()) >= 100, marked


def test_every_picture_has_words(notebook):
    assert contract.picture_problems(notebook) == []


def test_exercises_are_complete(notebook, chapter):
    assert contract.exercise_problems(notebook, chapter) == []


def test_quiz_and_last_sections(notebook):
    assert contract.ending_problems(notebook) == []


def test_quiz_has_three_to_five_questions_and_can_be_solved(chapter):
    questions = quiz(chapter.number)
    assert 3 <= len(questions.questions) <= 5
    for index, question in enumerate(questions.questions):
        questions.choose(index, question.answer)
    assert questions.submit() == len(questions.questions)
    for index, question in enumerate(questions.questions):
        questions.choose(index, (question.answer + 1) % len(question.choices))
    assert questions.submit() == 0


def test_right_answers_do_not_always_stand_in_the_same_place(chapter):
    assert len({question.answer for question in quiz(chapter.number).questions}) > 1


def test_folder_holds_the_listed_notebooks_and_no_others():
    assert sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")) == [
        chapter.filename for chapter in READY
    ]


def test_nbval_collects_every_listed_notebook():
    options = ["--nbval-lax", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(NOTEBOOKS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    missing = [chapter.filename for chapter in READY if chapter.filename not in done.stdout]
    assert not missing, f"not collected: {missing}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
