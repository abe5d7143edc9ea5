"""A row of the ledger, and the ledger: read from its files, checked, filtered.

A file of rows holds {"rows": [{id, section, quote, translation, verdict, english, chinese,
chapters: [{chapter, heading}], tests: ["file::test"], sources: [{source, where}],
numbers: {name: number}}]}, the last four where there are any. The explanations, english and
chinese, name numbers as {name}. A number is what a chapter prints, {value, chapter, pattern}: the
one group of the pattern in its outputs; or what a study stored, {value, study, rows, where, field,
format}: the field of the one row in data/studies/STUDY.json, under `rows`, that has the values of
`where`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from moe_course.chapters import find_chapter
from moe_lib.errors import require
from moe_lib.files import read_json
from moe_lib.text_files import path_of
from moe_lib.validation import Text, checked

DATA = Path(__file__).parent / "data"
VERDICTS = ("holds", "holds if", "false", "not checkable")
LANGUAGES = ("english", "chinese")
_SECTION = re.compile(r"[1-9](\.[1-9]){0,2}|9 Q[1-4]")
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Place:
    """A heading of a chapter's notebook, under which a statement is put to the test."""

    chapter: str
    heading: str

    def __post_init__(self):
        find_chapter(self.chapter)
        require(self.heading.strip() != "", "heading", self.heading, "a heading of the chapter")

    @property
    def words(self) -> str:
        """Chapter and heading; the title of a chapter begins with its number already."""
        titled = self.heading.startswith(f"{self.chapter} ")
        return self.heading if titled else f"{self.chapter} {self.heading}"


@dataclass(frozen=True)
class Source:
    """source: its name in sources.json; where: section, table or equation."""

    source: str
    where: str


@dataclass(frozen=True)
class Printed:
    """A number that a chapter prints: the group of `pattern`, a regular expression, in what its
    cells put out."""

    value: str
    chapter: str
    pattern: str

    def __post_init__(self):
        find_chapter(self.chapter)
        groups = re.compile(self.pattern).groups
        require(groups == 1, "pattern", self.pattern, "a regular expression with one group")


@dataclass(frozen=True)
class Stored:
    """A number of a study: `field` of the one row, of those under `rows`, that has the values of
    `where`, written by `format`."""

    value: str
    study: str
    rows: str
    where: dict
    field: str
    format: str


@dataclass(frozen=True)
class Row:
    """One statement of the article. ValueError names what is wrong with it.

    id         a name that stays
    section    of the article: "3.2.1", or "9 Q2" for a question of the appendix
    quote      its words, in Chinese; translation: the same in English
    verdict    one of VERDICTS
    english, chinese   the condition, or the reason; numbers stand in it as {name}
    """

    id: str
    section: str
    quote: str
    translation: str
    verdict: str
    english: str
    chinese: str
    chapters: tuple[Place, ...] = ()
    tests: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    numbers: dict[str, Printed | Stored] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("id", "quote", "translation", *LANGUAGES):
            require(getattr(self, name).strip() != "", name, getattr(self, name), "some words")
        require(bool(_SECTION.fullmatch(self.section)), "section", self.section, "such as 3.2.1")
        wants = f"one of {', '.join(VERDICTS)}"
        require(self.verdict in VERDICTS, "verdict", self.verdict, wants)
        for language in LANGUAGES:
            named = set(_NAME.findall(getattr(self, language)))
            wants = f"each number that is given, and no others: {sorted(self.numbers)}"
            require(named == set(self.numbers), language, sorted(named), wants)
        shown = self.chapters or self.tests or self.sources or self.verdict == "not checkable"
        require(bool(shown), "chapters", "none, nor tests, nor sources", "where it is tested")

    def words(self, language: str = "english") -> str:
        """The explanation, with its numbers."""
        require(language in LANGUAGES, "language", language, f"one of {', '.join(LANGUAGES)}")
        return _NAME.sub(lambda name: self.numbers[name[1]].value, getattr(self, language))

    @property
    def quotes_code(self) -> bool:
        """Is the quote a formula or a line of code, to be shown as it stands?"""
        return "\\" in self.quote or not any("\u4e00" <= one <= "\u9fff" for one in self.quote)

    @property
    def part(self) -> str:
        """The part of the article, "1" to "9"."""
        return self.section[0]

    @property
    def tested_in(self) -> tuple[str, ...]:
        """Numbers of the chapters, each once, in order."""
        return tuple(sorted({place.chapter for place in self.chapters}))

    def mentions(self, text: str) -> bool:
        """Is every word of `text` somewhere in the row? Small and capital letters are one."""
        places = [place.words for place in self.chapters]
        sources = [f"{source.source} {source.where}" for source in self.sources]
        own = (self.id, self.section, self.quote, self.translation, self.verdict)
        told = (self.words("english"), self.words("chinese"))
        everything = "\n".join((*own, *told, *places, *sources, *self.tests)).casefold()
        return all(word in everything for word in text.casefold().split())


@dataclass(frozen=True)
class Ledger:
    """All rows, in the order of the article. sources: name -> {title, by, arxiv}, the last two not
    for all. chapters: number -> {title, summary}, in Chinese."""

    rows: tuple[Row, ...]
    sources: dict[str, dict]
    chapters: dict[str, dict]

    def __getitem__(self, id: str) -> Row:
        found = next((row for row in self.rows if row.id == id), None)
        require(found is not None, "id", id, "the id of a row")
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the article that have rows."""
        return tuple(sorted({row.part for row in self.rows}))

    @property
    def tested_in(self) -> tuple[str, ...]:
        """The chapters that test a row."""
        return tuple(sorted({chapter for row in self.rows for chapter in row.tested_in}))

    @checked
    def select(
        self,
        verdict: Text | None = None,
        part: Text | None = None,
        chapter: Text | None = None,
        text: Text = "",
    ) -> tuple[Row, ...]:
        """The rows of a verdict, of a part of the article ("1" to "9"), tested in a chapter ("04"),
        and that hold every word of `text`; None takes all. ValueError for what no row can have."""
        for name, got, known in (
            ("verdict", verdict, VERDICTS),
            ("part", part, self.parts),
            ("chapter", chapter, self.tested_in),
        ):
            require(got is None or got in known, name, got, f"one of {', '.join(known)}")
        return tuple(
            row
            for row in self.rows
            if verdict in (None, row.verdict)
            and part in (None, row.part)
            and (chapter is None or chapter in row.tested_in)
            and row.mentions(text)
        )

    def counts(self, rows: Sequence[Row] | None = None) -> dict[str, int]:
        """How many rows, all or these, have each verdict."""
        verdicts = [row.verdict for row in (self.rows if rows is None else rows)]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def load_ledger(folder: Path = DATA) -> Ledger:
    """Read all rows. ValueError names the file, and the row, at fault."""
    folder = path_of("folder", folder)
    require(folder.is_dir(), "folder", str(folder), "a folder with the files of a ledger")
    sources, chapters = (read_json(folder / f"{name}.json") for name in ("sources", "chapters"))
    rows: list[Row] = []
    for path in sorted(folder.glob("[0-9]_*.json")):
        for number, content in enumerate(read_json(path).get("rows", []), start=1):
            row = _read(content, f"{path}, row {number}")
            unknown = [one.source for one in row.sources if one.source not in sources]
            require(not unknown, f"{path}: {row.id}", unknown, "sources of sources.json")
            again = any(row.id == other.id for other in rows)
            require(not again, f"{path}: id", row.id, "each id once")
            rows.append(row)
    require(bool(rows), "folder", str(folder), "files 1_….json with rows")
    return Ledger(tuple(sorted(rows, key=lambda row: row.section)), sources, chapters)


@cache
def the_ledger() -> Ledger:
    """The course's own ledger, read once."""
    return load_ledger()


def _read(content: dict, where: str) -> Row:
    try:
        numbers = {
            name: (Printed if "pattern" in number else Stored)(**number)
            for name, number in content.pop("numbers", {}).items()
        }
        places = tuple(Place(**place) for place in content.pop("chapters", ()))
        sources = tuple(Source(**source) for source in content.pop("sources", ()))
        tests = tuple(content.pop("tests", ()))
        return Row(**content, chapters=places, tests=tests, sources=sources, numbers=numbers)
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise ValueError(f"{where}: {error}") from error
