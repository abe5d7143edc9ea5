"""Quizzes and checks of exercises."""

import json
from pathlib import Path

from moe_course.quizzes import Choice, Question
from tests.course.wrong_input.made import file
from tests.wrong_input.table import FLAG, PATH, TEXT, Entry, find


def choices():
    return (Choice("x", "yes", True), Choice("y", "no"))


QUIZ = {
    "questions": [
        {
            "question": "How many?",
            "choices": [
                {"text": "1", "explanation": "Yes.", "correct": True},
                {"text": "2", "explanation": "No."},
            ],
        }
    ]
}


def quiz_file(change=lambda quiz: None) -> Path:
    content = json.loads(json.dumps(QUIZ))
    change(content)
    return file(content, "chapter_99.json")


def first(quiz) -> dict:
    return quiz["questions"][0]


QUIZZES = [
    Entry(
        "moe_course.quizzes.Choice",
        lambda: dict(text="x", explanation="y"),
        dict(text=["", " ", *TEXT], explanation=["", *TEXT], correct=FLAG),
    ),
    Entry(
        "moe_course.quizzes.Question",
        lambda: dict(question="a", choices=choices()),
        {
            "question": ["", *TEXT],
            "choices": [
                (),
                None,
                "ab",
                (1, 2),
                choices()[:1],
                choices()[1:] * 2,
                (*choices(), Choice("z", "no", True)),
                (*choices(), Choice(" x ", "no")),
                (Choice("x", "y"), Choice("z", "w")),
                (*choices(), *(Choice(letter, "no") for letter in "abcde")),
            ],
        },
    ),
    Entry(
        "moe_course.quizzes.marking.Quiz",
        lambda: dict(questions=(Question("a", choices()),)),
        {"questions": [(), None, 5, "ab", [1], (Question("a", choices()),) * 2]},
    ),
    Entry(
        "moe_course.quizzes.load_questions",
        lambda: dict(path=quiz_file()),
        {
            "path": [
                *PATH,
                lambda: file("{", "chapter_99.json"),
                lambda: quiz_file(lambda quiz: quiz.update(title="x")),
                lambda: quiz_file(lambda quiz: first(quiz).update(colour="red")),
                lambda: quiz_file(lambda quiz: first(quiz)["choices"][0].update(colour="red")),
                lambda: quiz_file(lambda quiz: quiz["questions"].append(first(quiz))),
                lambda: quiz_file(lambda quiz: first(quiz).update(choices=[])),
                lambda: quiz_file(lambda quiz: first(quiz).update(choices=3)),
                lambda: quiz_file(lambda quiz: first(quiz)["choices"][0].update(text="2")),
                lambda: quiz_file(lambda quiz: first(quiz)["choices"][0].pop("correct")),
            ]
        },
    ),
    Entry(
        "moe_course.quizzes.quiz",
        lambda: dict(chapter="03"),
        dict(chapter=["99", "", 3, None], number=[0, 99, -1, 1.5, True, "1"]),
    ),
]

CHECKS = [
    Entry(
        "moe_course.checks.exercises.check",
        lambda: dict(name="05.2", answers=(lambda *_: None,)),
        {"name": ["99.1", "05.99", "", 5, None, 5.2], "answers": [(), (1, 2), (1, 2, 3, 4)]},
        call=lambda given: find("moe_course.check")(given["name"], *given["answers"]),
    ),
    Entry(
        "moe_course.checks.exercises.find_check",
        lambda: dict(name="05.2"),
        {"name": ["99.1", "05.99", 5, None]},
    ),
    Entry(
        "moe_course.checks.verdicts.Verdict",
        lambda: dict(exercise="05.2", status="passed", message=""),
        {"status": ["perhaps", None, 3]},
    ),
]

ENTRIES = [*QUIZZES, *CHECKS]
