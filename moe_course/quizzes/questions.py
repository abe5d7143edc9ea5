"""Quizzes: questions with one right choice and an explanation for every choice.

The questions of a chapter are data, in `data/chapter_NN.json`:

    {"questions": [{"question": "…", "choices": [{"text": "…", "explanation": "…", "correct": true},
    …]}, …]}
"""

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

DATA = Path(__file__).parent / "data"
_VERDICTS = {True: "✓ Right", False: "△ Not this one"}


@dataclass(frozen=True)
class Choice:
    text: str
    explanation: str
    correct: bool = False


@dataclass(frozen=True)
class Question:
    question: str
    choices: tuple[Choice, ...]

    @property
    def answer(self) -> int:
        """Position of the right choice, from 0."""
        return next(index for index, choice in enumerate(self.choices) if choice.correct)


def load_questions(path: Path) -> tuple[Question, ...]:
    """Read and check a quiz file. ValueError names the file and the question at fault."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["questions"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a quiz file, want JSON with a list 'questions' ({error})"
        ) from error
    return tuple(
        _read_question(row, f"{path}, question {number}")
        for number, row in enumerate(rows, start=1)
    )


def _read_question(row: dict, where: str) -> Question:
    try:
        choices = tuple(Choice(**choice) for choice in row["choices"])
        question = Question(row["question"], choices)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: want 'question' and 'choices' of 'text', 'explanation' ({error})"
        ) from error
    if not 2 <= len(choices) <= 6:
        raise ValueError(f"{where}: got {len(choices)} choices, want 2 to 6")
    if sum(choice.correct is True for choice in choices) != 1:
        raise ValueError(f'{where}: want exactly one choice with "correct": true')
    if len({choice.text for choice in choices}) != len(choices):
        raise ValueError(f"{where}: two choices have the same text")
    if not all(choice.text.strip() and choice.explanation.strip() for choice in choices):
        raise ValueError(f"{where}: a choice has no text or no explanation")
    return question


class Quiz:
    """Some questions and the answers chosen so far; a widget if there is a kernel, folded answers
    if not.

    In code: `quiz.choose(0, 2)` picks the third choice of the first question, `quiz.submit()` marks
    the quiz, `quiz.score` is then the number of right answers. `quiz.chosen` is a list, None where
    nothing is chosen.
    """

    def __init__(self, questions: tuple[Question, ...]):
        if not questions:
            raise ValueError("questions: got none, want at least one")
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
        if not 0 <= question < len(self.questions):
            raise ValueError(f"question: got {question}, want 0 to {len(self.questions) - 1}")
        n_choices = len(self.questions[question].choices)
        if choice is not None and not 0 <= choice < n_choices:
            raise ValueError(f"choice: got {choice}, want 0 to {n_choices - 1}")
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
            from moe_course.quizzes.panel import QuizPanel

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
    path = DATA / f"chapter_{chapter}.json"
    if not path.is_file():
        known = sorted(file.stem.removeprefix("chapter_") for file in DATA.glob("chapter_*.json"))
        raise ValueError(f"chapter: got {chapter!r}, want one with a quiz: {known}")
    questions = load_questions(path)
    if number is None:
        return Quiz(questions)
    if not 1 <= number <= len(questions):
        raise ValueError(f"number: got {number}, want 1 to {len(questions)}")
    return Quiz(questions[number - 1 : number])
