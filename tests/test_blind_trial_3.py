"""Wrong inputs of a third tester who had seen no list."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, train
from moe_lib.text import load_tokenizer
from moe_lib.tuning import Examples, SequenceClassifier, encode_questions, encode_texts, finetune
from moe_lib.views import TryOut


def test_a_stride_that_leaves_no_room_is_named_and_not_the_question():
    with pytest.raises(ValueError, match=r"stride: got 64; wants less than max_length − 3 \(29\)"):
        encode_questions(["q"], ["a b"], None, load_tokenizer("mixture"), max_length=32, stride=64)


def test_a_function_of_other_arguments_is_refused_before_somebody_types():
    with pytest.raises(
        TypeError, match="answer: got a function of .text.; wants a function of a text, a"
    ):
        TryOut(lambda text: "x", examples=[("a", "b")])


def test_measuring_every_step_needs_something_to_measure():
    model = LanguageModel(ModelConfig.preset("tiny", vocab_size=6144))
    ids = torch.arange(8).view(2, 4)

    class Same:
        def at(self, step):
            return {"input_ids": ids, "labels": ids}

    with pytest.raises(ValueError, match="evaluate_every: got 1; wants None, or evaluation"):
        train(model, Same(), steps=2, evaluate_every=1, progress=False)
    texts = encode_texts(["a", "b"], [0, 1], load_tokenizer("mixture"), label_names=["x", "y"])
    with pytest.raises(ValueError, match="evaluate_every: got 1; wants None, or validation"):
        finetune(SequenceClassifier(model, 2), Examples(texts, 2), steps=2, evaluate_every=1)
