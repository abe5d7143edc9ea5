"""Quizzes: state driven by code and by the widget's controls, marking, data checks, the static
page."""

import json

import pytest

from moe_course.quizzes.marking import Quiz, load_questions, quiz

DATA = {
    "questions": [
        {
            "question": "What is `1 + 1`?",
            "choices": [
                {"text": "1", "explanation": "One is missing."},
                {"text": "2", "explanation": "One and one.", "correct": True},
            ],
        },
        {
            "question": "Is 3 < 4?",
            "choices": [
                {"text": "yes", "explanation": "It is.", "correct": True},
                {"text": "no", "explanation": "Count again."},
                {"text": "never <b>", "explanation": "Count again, slowly."},
            ],
        },
    ]
}


def write(folder, data):
    path = folder / "chapter_99.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path):
    return Quiz(load_questions(write(tmp_path, DATA)))


def test_choose_submit_score(small):
    assert small.score is None and small.feedback(0) == "" and small.summary() == ""
    small.choose(0, 1)
    small.choose(1, 2)
    assert small.submit() == 1 and small.summary() == "1 of 2 right"
    assert small.feedback(0) == "✓ Right. One and one."
    assert small.feedback(1) == "△ Not quite. Count again, slowly."
    small.choose(1, 0)
    assert small.score is None
    assert small.submit() == 2


def test_unanswered_question_counts_as_wrong(small):
    assert small.submit() == 0 and "No answer" in small.feedback(0)


@pytest.mark.parametrize(
    "question, choice",
    [
        (2, 0),
        (-1, 0),
        (0, 2),
        (0, -1),
        (1.5, 0),
        ("0", 0),
        (None, 0),
        (True, 0),
        (0, 1.0),
        (0, "a"),
    ],
)
def test_choice_that_does_not_exist(small, question, choice):
    with pytest.raises((ValueError, TypeError), match="question: got|choice: got"):
        small.choose(question, choice)


@pytest.mark.parametrize("question", [2, -1, 1.5, "0", None, True])
def test_feedback_of_a_question_that_does_not_exist(small, question):
    with pytest.raises((ValueError, TypeError), match="question: got"):
        small.feedback(question)
    small.submit()
    with pytest.raises((ValueError, TypeError), match="question: got"):
        small.feedback(question)


def test_widget_and_state_follow_each_other(small):
    box = small.widget
    radios = [child for child in box.children if type(child).__name__ == "RadioButtons"]
    texts = [child for child in box.children if type(child).__name__ == "HTML"]
    button, summary = box.children[-1].children
    assert [radio.index for radio in radios] == [None, None]
    small.choose(0, 0)
    assert radios[0].index == 0
    radios[1].index = 0
    assert small.chosen == [0, 0]
    button.click()
    assert small.score == 1 and "1 of 2 right" in summary.value
    assert "One is missing." in texts[1].value
    radios[0].index = 1
    assert not small.submitted and texts[1].value == ""
    assert small.widget is box


def test_bundle_has_live_and_static_form(small):
    bundle = small._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    html = bundle["text/html"]
    assert (
        html.count("<details>") == 2 and "<code>1 + 1</code>" in html and "never &lt;b&gt;" in html
    )
    for row in DATA["questions"]:
        assert all(choice["explanation"] in html for choice in row["choices"])
    assert "a) 1" in bundle["text/plain"]


def spoiled(change):
    data = json.loads(json.dumps(DATA))
    change(data["questions"][1])
    return data


@pytest.mark.parametrize(
    "data, words",
    [
        ("not json", "not valid JSON|not a quiz file"),
        ([], "not a quiz file"),
        ({"questions": 5}, "not a quiz file"),
        ({"questions": []}, "not a quiz file"),
        ({"questions": [3]}, "question 1"),
        ({"questions": ["text"]}, "question 1"),
        (spoiled(lambda q: q.update(choices=3)), "question 2"),
        (spoiled(lambda q: q.update(question=3)), "question 2: question: got 3; wants a text"),
        (spoiled(lambda q: q.update(question="")), "question 2: question: got ''; wants a text"),
        (
            spoiled(lambda q: q["choices"][0].update(text=None)),
            "choice 1: text: got None",
        ),
        (spoiled(lambda q: q["choices"][0].update(correct="yes")), "choice 1: correct: got 'yes'"),
        (spoiled(lambda q: q["choices"][1].update(text="\ud83d")), "choice 2: .*surrogate"),
        ({"rows": []}, "not a quiz file"),
        (spoiled(lambda q: q.pop("question")), "question 2"),
        (spoiled(lambda q: q["choices"][0].pop("correct")), "question 2.*exactly one"),
        (spoiled(lambda q: q["choices"][1].update(correct=True)), "question 2.*exactly one"),
        (
            spoiled(lambda q: q["choices"][1].update(explanation=" ")),
            "choice 2: explanation: got ' '; wants a text that is not empty",
        ),
        (spoiled(lambda q: q["choices"][1].update(text="yes")), "two with the text 'yes'"),
        (spoiled(lambda q: q["choices"][1].update(hint="x")), "question 2, choice 2: 'hint'"),
        (spoiled(lambda q: q.update(colour="red")), "question 2: 'colour': no such field"),
        ({**DATA, "title": "x"}, "'title': no such field"),
        ({"questions": [*DATA["questions"], DATA["questions"][0]]}, "question 3 is question 1"),
        (
            spoiled(lambda q: q.update(choices=q["choices"][:1])),
            "choices: got '1 choices'",
        ),
    ],
)
def test_broken_data_names_file_and_question(tmp_path, data, words):
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match=words) as caught:
        load_questions(path)
    assert "chapter_99.json" in str(caught.value)


def test_a_quiz_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "chapter_99.json"
    path.write_bytes(b'{"questions": "\xff"}')
    with pytest.raises(ValueError, match=r"chapter_99\.json: line 1 is not valid UTF-8"):
        load_questions(path)


WRONG = {
    "chapter": [("99",), ("",), ("../x",), (3,), (None,), (["03"],)],
    "number": [("03", 0), ("03", 99), ("03", 1.5), ("03", True), ("03", "1")],
}


@pytest.mark.parametrize(
    "argument, given", [(name, given) for name, cases in WRONG.items() for given in cases]
)
def test_a_quiz_that_there_is_not(argument, given):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: got .*; wants "):
        quiz(*given)


@pytest.mark.parametrize("wrong", [(), None, 5, "ab", [1]])
def test_questions_that_are_none(wrong):
    with pytest.raises(TypeError, match="^questions: got .*; wants a tuple of Question"):
        Quiz(wrong)
