"""Reads the reports pytest writes (JUnit XML): how many passed, and which notebooks were really
run."""

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


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


def read_report(path: Path) -> Report:
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


def notebook_of(classname: str) -> str | None:
    """The notebook's file name in a class name such as "notebooks.00_start_here.ipynb"."""
    parts = classname.replace("/", ".").replace("\\", ".").split(".")
    return f"{parts[parts.index('ipynb') - 1]}.ipynb" if "ipynb" in parts[1:] else None


def code_cells(notebook: Path) -> int:
    """Number of code cells in a notebook."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return sum(cell["cell_type"] == "code" for cell in content["cells"])


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
        elif report.cells[name] != (wanted := code_cells(folder / name)):
            problems.append(
                f"{name} has {wanted} code cells and {report.cells[name]} were collected"
            )
    return problems
