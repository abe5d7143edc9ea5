"""Whoever names a chapter by its number means the chapter that bears it: links, titles beside
numbers, exercises, quizzes, and what the modules of a chapter say of themselves."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from moe_course import CHAPTERS
from moe_course.notebooks import contract
from moe_course.notebooks import normalise as form

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BY_SLUG = {chapter.slug: chapter.number for chapter in CHAPTERS}
BY_TITLE = {chapter.title.lower(): chapter.number for chapter in CHAPTERS}
READY = {chapter.number for chapter in CHAPTERS if chapter.ready}
FILE = re.compile(rf"\b(\d\d)_({'|'.join(BY_SLUG)})\b")
TITLES = "|".join(map(re.escape, BY_TITLE))
TITLED = re.compile(rf"(?<![\d.])(\d\d)(?:,? {{1,2}}| \| \[)({TITLES})\b(?! \()", re.IGNORECASE)
LINK = re.compile(r"\[([^\]]*)\]\((?:notebooks/)?(\d\d)_(\w+)\.ipynb\)")
LIST = re.compile(
    r"\b(?:chapters?|notebooks?)\s+(\d\d(?:(?:, | and | or | to )\d\d)*)\b(?!\.\d)", re.I
)


def sources() -> list[Path]:
    """Every text that people read or Python runs. Not the corpora: they are data."""
    kept = [ROOT / "README.md", *NOTEBOOKS]
    for folder in ("moe_lib", "moe_course", "tests", "benchmarks"):
        kept += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")]
    kept += [*(ROOT / "data").rglob("*.md"), *(ROOT / "moe_course/quizzes").rglob("*.json")]
    return [path for path in kept if path != Path(__file__)]


def words_of(path: Path) -> str:
    """A file's text; of a notebook its sources and what its cells show as text, no pictures."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    parts = []
    for cell in form.read(path).cells:
        parts.append(cell.source)
        for output in cell.get("outputs", []):
            parts.append(output.get("text", ""))
            parts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(parts)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): words_of(path) for path in sources()}


def test_files_are_named_with_their_chapters_number(texts):
    found = [(place, *match) for place, text in texts.items() for match in FILE.findall(text)]
    assert len(found) > 40
    assert [one for one in found if BY_SLUG[one[2]] != one[1]] == []


def test_a_number_beside_a_title_is_that_chapters(texts):
    found = [(place, *match) for place, text in texts.items() for match in TITLED.findall(text)]
    assert len(found) > 50
    assert [one for one in found if BY_TITLE[one[2].lower()] != one[1]] == []


def test_links_lead_to_chapters_that_are_there_and_say_their_number(texts):
    found = [(place, *match) for place, text in texts.items() for match in LINK.findall(text)]
    assert {number for place, _, number, _ in found if place == "README.md"} == READY
    for place, words, number, slug in found:
        assert (ROOT / "notebooks" / f"{number}_{slug}.ipynb").is_file(), (place, slug)
        assert not re.match(r"\d\d\b", words) or words[:2] == number, (place, words)


def test_every_row_of_the_readme_carries_the_number_of_its_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) \| \[.*?\]\(notebooks/(\d\d)_", readme, re.MULTILINE)
    assert sorted(number for number, _ in rows) == sorted(READY)
    assert all(number == file for number, file in rows)


def test_every_chapter_that_is_named_exists(texts):
    numbers = set(BY_SLUG.values())
    named = [(place, two) for place, text in texts.items() for two in LIST.findall(text)]
    assert len(named) > 50
    wrong = [(place, two) for place, two in named if not set(re.findall(r"\d\d", two)) <= numbers]
    assert [one for one in wrong if not one[0].startswith("tests/")] == []


def test_modules_named_after_a_chapter_say_its_number(texts):
    """`studies/overfitting_cases.py` and `tests/…/test_overfitting_study.py` speak of one
    chapter."""
    asked = 0
    for place, text in texts.items():
        stem = Path(place).stem.removeprefix("test_")
        slug = next((slug for slug in BY_SLUG if stem.startswith(slug)), None)
        if not place.endswith(".py") or slug is None:
            continue
        said = LIST.search(ast.get_docstring(ast.parse(text)) or "")
        asked += said is not None
        assert said is None or said[1] == BY_SLUG[slug], place
    assert asked >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_exercises_and_quiz_of_a_notebook_carry_its_number(path):
    notebook, number = form.read(path), path.name[:2]
    text = words_of(path)
    assert notebook.cells[0].source.startswith(f"# {number} ")
    assert set(re.findall(r"Exercise (\d\d)\.\d", text)) == {number}
    asked = [
        call for _, c in contract.code_cells(notebook) for call in contract.check_calls(c.source)
    ]
    assert {call.split(".")[0] for call in asked} == {number}
    assert set(re.findall(r'quiz\("(\d\d)"\)', text)) == {number}


@pytest.mark.parametrize("number", sorted(READY))
def test_checks_of_a_chapter_carry_its_number(number):
    module = importlib.import_module(f"moe_course.checks.chapter_{number}")
    assert {name.split(".")[0] for name in module.CHECKS} == {number}
    said = re.search(r"\bchapter (\d\d)\b", module.__doc__)
    assert said and said[1] == number
