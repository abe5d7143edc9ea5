"""The ledger's widget: statements of the article, filtered; each opens to its reason and tests."""

from pathlib import Path

import anywidget
import traitlets

from moe_course.article.ledger.rows import LANGUAGES, VERDICTS, Ledger, Row, the_ledger
from moe_course.article.ledger_view.words import (
    LABELS,
    filter_words,
    part_words,
    summary,
    verdict_words,
)
from moe_lib.errors import require, require_unicode
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, fields, one_of
from moe_lib.views.kit.page_messages import text as a_text
from moe_lib.views.kit.static_display import StaticDisplay

_HERE = Path(__file__).parent
ALL = "all"


class LedgerView(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """The statements of the article, in English or Chinese.

        LedgerView()                       of the course's own ledger
        view.set(verdict="false", part="4", chapter="02", text="gradient"); view.reset()

    verdict, part, chapter: "all", or one of the ledger's. text: every word of it must stand in a
    row. language: "english" or "chinese".
    To read:   shown (the rows), summary, verdict, part, chapter, text, language, ledger

    ValueError or TypeError names the argument that cannot be; nothing changes then.
    """

    _esm = f"{script('settings')}\n{(_HERE / 'ledger_view.js').read_text(encoding='utf-8')}"
    _css = f"{style()}\n{(_HERE / 'ledger_view.css').read_text(encoding='utf-8')}"
    FORMS = (
        Form(
            "_follow",
            needs={
                "set": fields(
                    {
                        "verdict": a_text,
                        "part": a_text,
                        "chapter": a_text,
                        "text": a_text,
                        "language": one_of(*LANGUAGES),
                    }
                )
            },
        ),
        Form("_again", needs={"reset": one_of(True)}),
    )
    SETS = ("verdict", "part", "chapter", "text", "language")
    TELLS = ("ledger",)
    KEPT = ("_verdict", "_part", "_chapter", "_text", "_language")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; ledger_view.js only reads it

    def __init__(self, ledger: Ledger | None = None):
        known = ledger is None or isinstance(ledger, Ledger)
        require(known, "ledger", ledger, "a Ledger, or None for the course's own", TypeError)
        self._ledger = the_ledger() if ledger is None else ledger
        self._verdict = self._part = self._chapter = ALL
        self._text, self._language = "", "english"
        super().__init__(view=self._view())

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows that fit the filters."""
        return self._select(verdict=self._verdict)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        return summary(self._ledger, self.shown, self._filters(), self._language)

    def set(self, **changes: str) -> None:
        """Change filters or the language: verdict, part, chapter, text, language."""
        known = {
            "verdict": (ALL, *VERDICTS),
            "part": (ALL, *self._ledger.parts),
            "chapter": (ALL, *self._ledger.tested_in),
            "language": LANGUAGES,
        }
        for name, value in changes.items():
            require(name in self.SETS, name, value, f"one of {', '.join(self.SETS)}", TypeError)
            require(isinstance(value, str), name, value, "a text", TypeError)
            require_unicode(name, value)
            allowed = known.get(name, (value,))
            require(value in allowed, name, value, f"one of {', '.join(allowed)}")
        for name, value in changes.items():
            setattr(self, f"_{name}", value)
        self.view = self._view()

    def reset(self) -> None:
        """Take every filter away; the language stays."""
        self.set(verdict=ALL, part=ALL, chapter=ALL, text="")

    def figure(self):
        """The rows that are shown, counted by part of the article, as a matplotlib figure."""
        from moe_course.article.ledger_view.figure import ledger_figure

        filters = filter_words(*self._named(), "english")
        return ledger_figure(self._ledger, self.shown, filters)

    def _named(self) -> tuple[str, str, str]:
        part, chapter = ("" if one == ALL else one for one in (self._part, self._chapter))
        return part, chapter, self._text

    def _filters(self) -> str:
        return filter_words(*self._named(), self._language)

    def _select(self, verdict: str) -> tuple[Row, ...]:
        chosen = {"verdict": verdict, "part": self._part, "chapter": self._chapter}
        set_ = {name: value for name, value in chosen.items() if value != ALL}
        return self._ledger.select(**set_, text=self._text)

    def _follow(self, set: dict) -> None:
        self.set(**set)

    def _again(self, reset: bool) -> None:
        self.reset()

    def _view(self) -> dict:
        language, labels = self._language, LABELS[self._language]
        fitting = self._select(verdict=ALL)
        counts = {ALL: len(fitting)} | self._ledger.counts(fitting)
        verdicts = {ALL: labels["all"]} | {one: verdict_words(one, language) for one in VERDICTS}
        parts = {one: part_words(one, language) for one in self._ledger.parts}
        titles = self._ledger.chapters if language == "chinese" else {}
        chapters = {one: self._chapter_words(one, titles) for one in self._ledger.tested_in}
        return {
            "labels": labels,
            "language": language,
            "verdict": self._verdict,
            "part": self._part,
            "chapter": self._chapter,
            "text": self._text,
            "verdicts": [
                {"value": one, "words": words, "count": counts[one]}
                for one, words in verdicts.items()
            ],
            "parts": _choices({ALL: labels["all"]} | parts),
            "chapters": _choices({ALL: labels["all"]} | chapters),
            "rows": [self._row(row) for row in self.shown],
            "summary": self.summary,
            "problem": self._problem,
        }

    def _chapter_words(self, chapter: str, chinese: dict) -> str:
        from moe_course.chapters import find_chapter

        title = chinese[chapter]["title"] if chinese else find_chapter(chapter).title
        return f"{chapter} {title}"

    def _row(self, row: Row) -> dict:
        sources = []
        for one in row.sources:
            arxiv = self._ledger.sources[one.source].get("arxiv")
            name = f"{one.source} (arXiv {arxiv})" if arxiv else one.source
            sources.append(f"{name}, {one.where}")
        return {
            "id": row.id,
            "section": row.section.removeprefix("9 "),
            "quote": row.quote,
            "code": row.quotes_code,
            "translation": row.translation,
            "kind": row.verdict.replace(" ", "-"),
            "verdict": verdict_words(row.verdict, self._language),
            "words": row.words(self._language),
            "places": [*(place.words for place in row.chapters), *row.tests],
            "sources": sources,
        }


def _choices(words: dict[str, str]) -> list[dict]:
    return [{"value": value, "words": said} for value, said in words.items()]
