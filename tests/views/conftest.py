"""A hand-made reading whose every number is known, and a small random model whose predictions
differ."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import load_tokenizer
from moe_lib.tracing import LayerTrace, Prediction, Reading, RoutingTrace
from tests.views.every_widget import make, masked  # noqa: F401 (fixtures of these tests)

EXPERTS = [[0, 1], [0, 2], [3, 0], [1, 0]]  # 4 tokens, the 2 of 4 experts that each is sent to
LOAD = [4, 2, 1, 1]  # counted by hand


@pytest.fixture
def reading() -> Reading:
    """Four tokens in layer 1 (4 experts) and layer 2 (all to experts 2 and 3)."""
    scores = torch.tensor(
        [[0.5, 0.3, 0.1, 0.1], [0.6, 0.1, 0.2, 0.1], [0.3, 0.1, 0.1, 0.5], [0.3, 0.4, 0.2, 0.1]]
    )
    experts = torch.tensor(EXPERTS)
    first = LayerTrace(
        "layers.1.feed_forward", 1, 4, experts[None], scores.gather(1, experts)[None], scores[None]
    )
    same = torch.tensor([[2, 3]] * 4)
    second = LayerTrace(
        "layers.2.feed_forward",
        2,
        4,
        same[None],
        torch.full((1, 4, 2), 0.25),
        torch.full((1, 4, 4), 0.25),
    )
    trace = RoutingTrace(
        [first, second], torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.bool)
    )
    guess = Prediction((1, 2, 3), ("a", "b", "c"), (0.5, 0.25, 0.125), -1.5)
    return Reading(
        "one two\n$x$",
        ("one", " two", "\n", "$x$"),
        ("one", "␣two", "⏎", "$x$"),
        trace,
        (None, guess, guess, guess),
        guess,
        0,
        True,
        0.0,
        {},
    )


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    """Random weights, large enough that experts matter to the predictions."""
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", initializer_range=0.3, first_k_dense_replace=0))
