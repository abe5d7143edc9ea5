"""Quizzes: questions with one right choice and an explanation for every choice.

The questions of a chapter are data, in `data/chapter_NN.json`:

    {"questions": [{"question": "…", "choices": [{"text": "…", "explanation": "…", "correct": true},
    …]}, …]}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated

from moe_lib.errors import require, require_whole
from moe_lib.files import require_only
from moe_lib.text_files import parse_json, path_of, read_text
from moe_lib.validation import Block, Flag, checked, writable

DATA = Path(__file__).parent / "data"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_WORDS = "a text that is not empty, without halves of surrogate pairs"
Words = Annotated[str, Block(_WORDS, _text, lambda text: text.strip() != "" and writable(text))]
_VERDICTS = {True: "✓ Right", False: "△ Not this one"}


@checked
@dataclass(frozen=True)
class Choice:
    """One choice and why it is right or wrong; neither text is empty."""

    text: Words
    explanation: Words
    correct: Flag = False


@checked
@dataclass(frozen=True)
class Question:
    """A question and 2 to 6 choices of different texts, exactly one of them correct. ValueError or
    TypeError naming the field otherwise."""

    question: Words
    choices: tuple[Choice, ...]

    def __post_init__(self):
        object.__setattr__(self, "choices", tuple(self.choices))
        n, texts = len(self.choices), [choice.text.strip() for choice in self.choices]
        require(2 <= n <= 6, "choices", f"{n} choices", "2 to 6 of them")
        right = sum(choice.correct for choice in self.choices)
        require(right == 1, "choices", f"{right} that are correct", "exactly one")
        again = next((text for text in texts if texts.count(text) > 1), None)
        require(again is None, "choices", f"two with the text {again!r}", "different texts")

    @property
    def answer(self) -> int:
        """Position of the right choice, from 0."""
        return next(index for index, choice in enumerate(self.choices) if choice.correct)


def load_questions(path: Path) -> tuple[Question, ...]:
    """Read and check a quiz file. ValueError names the file and the question at fault."""
    path = path_of("path", path)
    content = parse_json(read_text(path), path)
    rows = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: not a quiz file; wants JSON with a list 'questions'")
    require_only(path, content, "questions")
    questions = tuple(
        _read_question(row, f"{path}, question {number}")
        for number, row in enumerate(rows, start=1)
    )
    _require_different(questions, f"{path}: questions")
    return questions


def _require_different(questions: Sequence[Question], argument: str) -> None:
    """ValueError for a question that stands there twice."""
    first: dict[str, int] = {}
    for number, question in enumerate(questions, start=1):
        before = first.setdefault(question.question.strip(), number)
        twice = f"question {number} is question {before} again ({question.question!r})"
        require(before == number, argument, twice, "each question once")


def _read_question(row: object, where: str) -> Question:
    fields = _fields(row, where, "question", "choices")
    rows = fields["choices"]
    if not isinstance(rows, list):
        raise ValueError(f'{where}: "choices" is {type(rows).__name__}; wants a list of them')
    choices = []
    for number, choice in enumerate(rows, start=1):
        place = f"{where}, choice {number}"
        choice = _fields(choice, place, "text", "explanation", "correct", optional=("correct",))
        choices.append(_made(Choice, place, choice))
    return _made(Question, where, {**fields, "choices": tuple(choices)})


def _fields(row: object, where: str, *names: str, optional: Sequence[str] = ()) -> dict:
    """A JSON object with these fields and no others."""
    if not isinstance(row, dict):
        raise ValueError(f"{where}: is {type(row).__name__}; wants fields {', '.join(names)}")
    missing = [name for name in names if name not in row and name not in optional]
    if missing:
        raise ValueError(f"{where}: has no {missing[0]!r}; wants {', '.join(names)}")
    require_only(where, row, *names)
    return row


def _made(kind: type, where: str, fields: dict) -> Choice | Question:
    """A Choice or a Question; what it refuses is said of the place in the file."""
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


class Quiz:
    """Some questions and the answers chosen so far; a widget if there is a kernel, folded answers
    if not.

    In code: `quiz.choose(0, 2)` picks the third choice of the first question, `quiz.submit()` marks
    the quiz, `quiz.score` is then the number of right answers. `quiz.chosen` is a list, None where
    nothing is chosen.
    """

    def __init__(self, questions: tuple[Question, ...]):
        known = isinstance(questions, tuple | list) and len(questions) > 0
        known = known and all(isinstance(question, Question) for question in questions)
        require(known, "questions", questions, "a tuple of Question, at least one", TypeError)
        _require_different(questions, "questions")
        self.questions = tuple(questions)
        self.chosen: list[int | None] = [None] * len(self.questions)
        self.submitted = False
        self._panel = None

    @property
    def score(self) -> int | None:
        """Right answers at the last `submit()`; None before it."""
        if not self.submitted:
            return None
        return sum(
            chosen == question.answer
            for chosen, question in zip(self.chosen, self.questions, strict=True)
        )

    def choose(self, question: int, choice: int | None) -> None:
        """Pick a choice (None: unpick), both counted from 0. The marking goes until the next
        `submit`."""
        require_place("question", question, len(self.questions))
        if choice is not None:
            require_place("choice", choice, len(self.questions[question].choices))
        if self.chosen[question] != choice:
            self.chosen[question] = choice
            self.submitted = False
        self._refresh()

    def submit(self) -> int:
        """Mark the quiz, show the explanations of what was chosen, and return the score."""
        self.submitted = True
        self._refresh()
        return self.score

    def feedback(self, question: int) -> str:
        """What the learner reads below a question: nothing before `submit()`, then the verdict in
        words."""
        require_place("question", question, len(self.questions))
        if not self.submitted:
            return ""
        chosen = self.chosen[question]
        if chosen is None:
            return "○ No answer yet."
        choice = self.questions[question].choices[chosen]
        return f"{'✓ Right.' if choice.correct else '△ Not quite.'} {choice.explanation}"

    def summary(self) -> str:
        """The score in words; empty before `submit()`."""
        return f"{self.score} of {len(self.questions)} right" if self.submitted else ""

    @property
    def widget(self):
        """The ipywidgets panel (a VBox); made on first use and kept."""
        if self._panel is None:
            from moe_course.quizzes.quiz_panel import QuizPanel

            self._panel = QuizPanel(self)
        return self._panel.box

    def _refresh(self) -> None:
        if self._panel is not None:
            self._panel.refresh()

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, start=1):
            lines.append(f"Question {number}. {question.question}")
            lines += [
                f"  {chr(97 + index)}) {choice.text}"
                for index, choice in enumerate(question.choices)
            ]
        return "\n".join(lines)

    def static_html(self) -> str:
        """The quiz for readers without a kernel: the choices, with the answers folded away."""
        parts = []
        for number, question in enumerate(self.questions, start=1):
            items = "".join(f"<li>{code_html(choice.text)}</li>" for choice in question.choices)
            answers = "".join(
                f"<li>{_VERDICTS[choice.correct]}: {code_html(choice.explanation)}</li>"
                for choice in question.choices
            )
            parts.append(
                f"<p><strong>Question {number}.</strong> {code_html(question.question)}</p>"
                f'<ol type="a">{items}</ol><details><summary>Answer to question {number}</summary>'
                f'<ol type="a">{answers}</ol></details>'
            )
        return f"<div>{''.join(parts)}</div>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {"text/plain": repr(self), "text/html": self.static_html()}
        live = self.widget._repr_mimebundle_()
        live = live[0] if isinstance(live, tuple) else live
        return {**live, **bundle}


def require_place(argument: str, got: object, n: int, first: int = 0) -> None:
    """`got` must be the place of one of `n` things, counted from `first`."""
    require_whole(argument, got, at_least=first)
    require(got < first + n, argument, got, f"{first} to {first + n - 1}")


def code_html(text: str) -> str:
    """Escape `text` for HTML; what stands between backticks becomes code."""
    pieces = escape(text, quote=False).split("`")
    return "".join(
        f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces)
    )


def quiz(chapter: str, number: int | None = None) -> Quiz:
    """The quiz of a chapter ("03"), or only its question `number`, counted from 1.

    ValueError for a chapter without a quiz or a question that does not exist.
    """
    known = sorted(file.stem.removeprefix("chapter_") for file in DATA.glob("chapter_*.json"))
    wants = f"one with a quiz: {', '.join(known)}"
    require(isinstance(chapter, str), "chapter", chapter, wants, TypeError)
    require(chapter in known, "chapter", chapter, wants)
    questions = load_questions(DATA / f"chapter_{chapter}.json")
    if number is None:
        return Quiz(questions)
    require_place("number", number, len(questions), first=1)
    return Quiz(questions[number - 1 : number])
