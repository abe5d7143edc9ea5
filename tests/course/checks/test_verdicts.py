"""Verdicts: every kind of answer ends in the right state with words that help; none of them
raises."""

import re

import pytest
import torch

from moe_course import check
from moe_course.checks.comparisons import (
    NotYet,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_true,
)
from moe_course.checks.exercises import run_check
from moe_course.checks.verdicts import NOT_ATTEMPTED, NOT_YET, PASSED, Verdict

X = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 4.0]])


def check_softmax(softmax):
    hints = {
        "your weights sum to {sum}: did you forget to divide?": X.exp(),
        "every row should sum to 1": lambda y: bool((y.sum(-1) - 1).abs().max() > 1e-3),
    }
    expect_close(softmax(X), torch.softmax(X, dim=-1), "softmax(x)", hints=hints)
    return "Well done."


def verdict_of(answer):
    return run_check("99.1", check_softmax, answer)


def learner(source: str):
    """A function typed by a learner, whose code is in no file of ours."""
    names = {"torch": torch}
    exec(compile(source, "<cell>", "exec"), names)
    return names["f"]


def test_right_answer_passes_with_praise():
    verdict = verdict_of(lambda x: torch.softmax(x, dim=-1))
    assert verdict.status == PASSED and verdict.passed and verdict.message == "Well done."
    assert verdict.assert_passed() is verdict


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    raise NotImplementedError",
        "def f(x):\n    ...",
        "def f(x):\n    pass",
        "def f(x):\n    return ...",
        "f = None",
        "f = ...",
        "class M(torch.nn.Module):\n    pass\nf = M()",
    ],
)
def test_stub_is_not_attempted(source):
    assert verdict_of(learner(source)).status == NOT_ATTEMPTED


@pytest.mark.parametrize(
    "source, words",
    [
        ("def f(x):\n    return x.exp()", r"your weights sum to 86\.8: did you forget to divide"),
        ("def f(x):\n    return x.softmax(0)", "every row should sum to 1"),
        (
            "def f(x):\n    return x.softmax(-1).sum(-1)",
            r"shape \(2,\); want \(2, 3\).*dimension is missing",
        ),
        ("def f(x):\n    return x.softmax(-1).T", r"shape \(3, 2\).*transpose"),
        ("def f(x):\n    return x.softmax(-1)[None]", "dimension too many"),
        ("def f(x):\n    return x.sum()", "reduce over every dimension"),
        ("def f(x):\n    return x.softmax(-1) * float('nan')", "6 NaN among 6"),
        ("def f(x):\n    return x / 0.0", "NaN|infinite"),
        ("def f(x):\n    return x.long()", "dtype torch.int64; want torch.float32"),
        ("def f(x):\n    return [1, 2]", "a list; want a torch.Tensor"),
        ("def f(x):\n    return -x.softmax(-1)", "every row should sum"),
        (
            "def f(x):\n    return x.softmax(-1).flip(-1)",
            r"differs in 4 of 6 values; the first is at \[0, 0\]",
        ),
    ],
)
def test_wrong_answer_is_diagnosed(source, words):
    verdict = verdict_of(learner(source))
    assert verdict.status == NOT_YET
    assert re.search(words, verdict.message), verdict.message
    with pytest.raises(AssertionError, match="Not yet"):
        verdict.assert_passed()


def test_error_names_the_learners_line_and_none_of_ours():
    verdict = verdict_of(learner("def f(x):\n    y = x\n    return y @ y"))
    assert verdict.status == NOT_YET and "stopped at line 3 " in verdict.message
    assert "RuntimeError: mat1 and mat2" in verdict.message
    assert "moe_lib" not in verdict.message and "Traceback" not in verdict.message


def test_error_inside_a_library_points_at_the_learners_call():
    verdict = verdict_of(learner("def f(x):\n    return torch.nn.functional.layer_norm(x, (7,))"))
    assert "line 2 " in verdict.message


def test_error_in_a_helper_of_the_learner_points_at_the_helper():
    verdict = verdict_of(learner("def g(x):\n    return 1 / 0\ndef f(x):\n    return g(x)"))
    assert "line 2 " in verdict.message and "ZeroDivisionError" in verdict.message


def test_wrong_number_of_arguments():
    verdict = verdict_of(learner("def f():\n    return 1"))
    assert verdict.status == NOT_YET and "takes 0 positional arguments" in verdict.message


def test_same_random_numbers_every_time_and_none_used_up():
    drawn = []
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    for _ in range(2):
        run_check("99.1", lambda answer: drawn.append(torch.rand(3)), 1)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_unknown_exercise():
    with pytest.raises(ValueError, match="99.1"):
        check("99.1", len)


def test_verdict_shows_words_and_symbol_and_escapes():
    verdict = Verdict("03.2", NOT_YET, "a < b")
    html = verdict._repr_html_()
    assert "△ Not yet" in html and "a &lt; b" in html and "<b>" not in html
    assert repr(verdict) == "△ Exercise 03.2: Not yet. a < b"
    with pytest.raises(ValueError, match="status"):
        Verdict("03.2", "great", "")


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("status", [PASSED, NOT_YET, NOT_ATTEMPTED])
def test_label_contrast_meets_wcag_aa(status):
    background = re.search(
        r"background:(#\w{6});color:#fff", Verdict("1.1", status, "")._repr_html_()
    )[1]
    assert 1.05 / (luminance(background) + 0.05) >= 4.5


def test_expect_equal():
    expect_equal([1, 2], [1, 2], "ids")
    expect_equal(3, 3.0, "count")
    for wrong, words in (
        ([1, 3], "position 1: got 3, want 2"),
        ([1], "length is 1; want 2"),
        ((1, 2), "a tuple; want a list"),
        (torch.tensor(1), "is a tensor"),
    ):
        with pytest.raises(NotYet, match=words):
            expect_equal(wrong, [1, 2], "ids")
    with pytest.raises(NotYet, match="off by one"):
        expect_equal(4, 3, "count", hints={"off by one?": 4})
    with pytest.raises(NotYet, match="a bool; want a int"):
        expect_equal(True, 1, "count")


def test_small_comparers():
    expect_shape(torch.zeros(2, 3), (2, 3), "y")
    expect_dtype(torch.zeros(2), torch.float32, "y")
    expect_true(True, "no")
    expect_close(0.5, 0.5, "loss")
    with pytest.raises(NotYet, match="float64; want torch.float32"):
        expect_dtype(torch.zeros(2).double(), torch.float32, "y")
    with pytest.raises(NotYet, match="so it is"):
        expect_true(False, "so it is")
    with pytest.raises(NotYet, match="loss is 1; want 0.5.*twice"):
        expect_close(1.0, 0.5, "loss")
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(NotYet, match="transpose of the right answer"):
        expect_close(square.T, square, "w")
    masked = torch.tensor([1.0, float("-inf")])
    expect_close(masked, masked, "scores with a mask")
