"""Reads the reports pytest writes (JUnit XML): how many passed, and which notebooks were really
run."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from moe_course.notebooks.normalise import read
from moe_lib.validation import PathLike, Text, checked


@dataclass(frozen=True)
class Counts:
    """Numbers of tests. An error in a fixture or during collection counts as failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def in_words(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        counts: over all its tests.
        cells: notebook file name -> number of cells reported.
        run_cells: the same, without skipped ones.
    """

    counts: Counts = Counts()
    cells: Counter = field(default_factory=Counter)
    run_cells: Counter = field(default_factory=Counter)


@checked
def read_report(path: PathLike) -> Report:
    """Read one report. A missing or broken one is an empty report: pytest's exit code tells that
    story."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return Report()
    counts, cells, run_cells = Counts(), Counter(), Counter()
    for case in cases:
        marks = {child.tag for child in case}
        failed, skipped = bool(marks & {"failure", "error"}), "skipped" in marks
        counts += Counts(int(not failed and not skipped), int(failed), int(skipped and not failed))
        if notebook := notebook_of(case.get("classname", "")):
            cells[notebook] += 1
            run_cells[notebook] += int(not skipped)
    return Report(counts, cells, run_cells)


@checked
def notebook_of(classname: Text) -> str | None:
    """The notebook's file name in a class name such as "notebooks.00_start_here.ipynb"."""
    parts = classname.replace("/", ".").replace("\\", ".").split(".")
    return f"{parts[parts.index('ipynb') - 1]}.ipynb" if "ipynb" in parts[1:] else None


@checked
def code_cells(notebook: PathLike) -> int:
    """Number of code cells in a notebook. Errors as of `notebooks.normalise.read`."""
    return sum(cell.cell_type == "code" for cell in read(notebook).cells)


@checked
def missing_notebooks(report: Report, listed: list[str], folder: Path) -> list[str]:
    """One sentence for each listed notebook that was not run whole."""
    problems = []
    if not listed:
        problems.append("the course lists no notebook at all")
    for name in listed:
        if not (folder / name).is_file():
            problems.append(f"{name} is listed in moe_course.CHAPTERS and is not in {folder.name}/")
        elif not report.run_cells[name]:
            problems.append(f"{name} is listed in moe_course.CHAPTERS and no cell of it was run")
        else:
            problems += _miscounted(report, folder / name)
    return problems


def _miscounted(report: Report, notebook: Path) -> list[str]:
    try:
        wanted = code_cells(notebook)
    except ValueError as error:  # damaged: pytest could not collect it either
        return [str(error)]
    found = report.cells[notebook.name]
    return (
        []
        if found == wanted
        else [f"{notebook.name} has {wanted} code cells and {found} were collected"]
    )
