"""Wrong arguments of the metrics are refused by name."""

import pytest

from moe_lib.tuning import (
    accuracy,
    bleu,
    exact_match,
    expected_calibration_error,
    macro_f1,
    recall_at_k,
    rouge,
    span_f1,
)
from moe_lib.tuning.metrics import normalised_words

NAN = float("nan")
GOOD = {
    accuracy: {"predicted": [0, 1], "targets": [0, 1]},
    macro_f1: {"predicted": [0, 1], "targets": [0, 1]},
    exact_match: {"predicted": ["a", ""], "answers": [["a", "b"], []]},
    span_f1: {"predicted": ["a", ""], "answers": [["a", "b"], []]},
    bleu: {"predicted": ["a b c d", "a"], "references": [["a b c d"], ["a", "b"]]},
    rouge: {"predicted": ["a b", "a"], "references": ["a b", "b"]},
    recall_at_k: {"ranked": [["a", "b"]], "relevant": [["a"]], "k": 1},
    expected_calibration_error: {"probabilities": [[0.5, 0.5], [1, 0]], "targets": [0, 1]},
    normalised_words: {"text": "The end."},
}
NO_LIST = (None, 3, "ab", {"a": 1})
NO_COUNT = (0, -1, 1.5, "3", None, True)
WRONG = [
    *(
        (function, "predicted", bad)
        for function in GOOD
        for bad in (*NO_LIST, [])
        if "predicted" in GOOD[function]
    ),
    *(
        (function, "targets", bad)
        for function in (accuracy, macro_f1)
        for bad in (*NO_LIST[:2], "ab")
    ),
    *(
        (function, "predicted", [bad, "a"])
        for function in (exact_match, span_f1, bleu, rouge)
        for bad in (3, None, b"a", ["a"], "\ud83d")
    ),
    *(
        (function, "answers", bad)
        for function in (exact_match, span_f1)
        for bad in (*NO_LIST, ["a", "b"], [["a"], "b"], [["a"], [3]], [["a"], [None]], [["a"], 3])
    ),
    *(
        (bleu, "references", bad)
        for bad in (*NO_LIST, ["a", 3], ["a", []], [["a"], [3]], ["a", None], ["a", "\udc00"])
    ),
    *((bleu, "language", bad) for bad in ("de", "", None, 3, ["en"])),
    *((rouge, "references", bad) for bad in (*NO_LIST, ["a", 3], [["a"], ["b"]], ["a", None])),
    *(
        (rouge, "kinds", bad)
        for bad in ("rouge1", (), ("rouge",), ("rouge0",), ("bleu",), (3,), None)
    ),
    *((recall_at_k, "k", bad) for bad in NO_COUNT),
    *((recall_at_k, "ranked", bad) for bad in (*NO_LIST, [], ["ab"], [3], [None])),
    *((recall_at_k, "relevant", bad) for bad in (*NO_LIST, ["ab"], [3], [None], [[]])),
    *(
        (expected_calibration_error, "probabilities", bad)
        for bad in (
            None,
            3,
            "ab",
            [],
            [0.5, 0.5],
            [["a", "b"], ["c", "d"]],
            [[0.5, 0.5], [1]],
            [[-1, 2], [1, 0]],
            [[NAN, 1], [1, 0]],
            [[0.5, 0.1], [1, 0]],
            [[0.5, 0.5]],
        )
    ),
    *(
        (expected_calibration_error, "targets", bad)
        for bad in (None, 3, "ab", [0], [0, 2], [0, -1], [0, 0.5], [0, "a"], [0, True], [0, NAN])
    ),
    *((expected_calibration_error, "n_bins", bad) for bad in NO_COUNT),
    *((normalised_words, "text", bad) for bad in (None, 3, b"a", ["a"])),
]


@pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)
def test_the_right_ones_are_taken(function):
    function(**GOOD[function])


@pytest.mark.parametrize(
    "function, argument, bad", WRONG, ids=[f"{f.__name__}-{name}-{bad!r}" for f, name, bad in WRONG]
)
def test_a_wrong_argument_is_named(function, argument, bad):
    named = "|".join([argument, *GOOD[function]]) if bad == [] else argument
    if isinstance(bad, (list, tuple)) and len(bad) == 1 and argument != "kinds":
        named = "|".join(
            [argument, *GOOD[function]]
        )  # lists of different lengths: either may be the wrong one
    with pytest.raises((TypeError, ValueError), match=rf"^({named})(\[\d+\])*: got .*; wants "):
        function(**{**GOOD[function], argument: bad})


def test_bleu_of_texts_shorter_than_four_words_is_0_as_its_docstring_says():
    assert bleu(["Zhongjian Plaza"], ["Zhongjian Plaza"]) == bleu(["你好"], ["你好"], "zh") == 0
    assert bleu(["one two three four"], ["one two three four"]) == pytest.approx(100)
    assert exact_match(["Zhongjian Plaza"], [["Zhongjian Plaza"]]) == 1
