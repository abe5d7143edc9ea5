"""Wrong inputs of a third tester who had seen no list."""

import pytest

from moe_lib.text import load_tokenizer
from moe_lib.tuning import encode_questions
from moe_lib.views import TryOut


def test_a_stride_that_leaves_no_room_is_named_and_not_the_question():
    with pytest.raises(ValueError, match=r"stride: got 64; wants less than max_length − 3 \(29\)"):
        encode_questions(["q"], ["a b"], None, load_tokenizer("mixture"), max_length=32, stride=64)


def test_a_function_of_other_arguments_is_refused_before_somebody_types():
    with pytest.raises(
        TypeError, match="answer: got a function of .text.; wants a function of a text, a"
    ):
        TryOut(lambda text: "x", examples=[("a", "b")])
