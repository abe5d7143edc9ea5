"""Span search against a naive double loop, and answers over several windows."""

import math

import pytest
import torch

from moe_lib.tuning import Answer, Encoded, Span, SpanExtractor, best_span, predict_answers
from moe_lib.tuning.spans import answer_of
from tests.tuning.small import make_base


def naive(logits, longest):
    """All allowed spans one by one, and the chance of the best among them and "no answer"."""
    n = len(logits) - 1
    spans = {
        (s, e): float(logits[s, 0] + logits[e, 1])
        for s in range(n)
        for e in range(s, min(n, s + longest))
    }
    nothing = float(logits[n].sum())
    total = sum(math.exp(score) for score in spans.values()) + math.exp(nothing)
    best = max(spans, key=spans.get)
    return best, math.exp(spans[best]) / total, math.exp(nothing) / total


def test_best_span_is_that_of_the_naive_search():
    generator = torch.Generator().manual_seed(0)
    for trial in range(40):
        logits = torch.randn(13, 2, generator=generator) * 3
        logits[:3] = logits[9:12] = -torch.inf  # the question, and padding
        longest = trial % 4 + 1
        (start, end), chance, none = naive(logits, longest)
        found = best_span(logits, longest)
        assert (found.start, found.end) == (start, end)
        assert 3 <= start <= end < 9 and end - start < longest
        assert found.probability == pytest.approx(
            chance
        ) and found.no_answer_probability == pytest.approx(none)
        assert found.score == pytest.approx(float(logits[start, 0] + logits[end, 1]), abs=1e-5)
        assert found.no_answer == pytest.approx(float(logits[12].sum()), abs=1e-5)


def test_an_end_before_its_start_is_not_taken_however_high_it_scores():
    logits = torch.zeros(6, 2)
    logits[4, 0] = logits[1, 1] = 9.0  # start 4, end 1 would be best by far
    found = best_span(logits, max_answer_tokens=5)
    assert found.start <= found.end and found.score == 9.0
    logits = torch.full((5, 2), -torch.inf)
    with pytest.raises(ValueError, match="logits: got '-inf at every token'"):
        best_span(logits)
    with pytest.raises(ValueError, match="logits: got .4,."):
        best_span(torch.zeros(4))
    with pytest.raises(ValueError, match="max_answer_tokens: got 0"):
        best_span(torch.zeros(4, 2), 0)


class Fixed(SpanExtractor):
    """Logits by the token id, so that the answer is known: start likes id 30, end likes id 31."""

    def forward(
        self, input_ids, attention_mask=None, context_mask=None, labels=None, label_smoothing=0.0
    ):
        likes = torch.stack([(input_ids == 30).float() * 5, (input_ids == 31).float() * 5], -1)
        likes = likes.masked_fill(
            ~(attention_mask.bool() & context_mask.bool())[..., None], -torch.inf
        )
        logits = torch.cat([likes, torch.full((len(likes), 1, 2), 2.0)], 1)
        return type("Output", (), {"logits": logits})


def test_the_window_with_the_largest_margin_speaks_for_the_question():
    def row(example, *context):
        head = [30, 31]  # the question holds the marks too: they must not be found there
        return {
            "example": example,
            "input_ids": [*head, *context],
            "context_mask": [0, 0] + [1] * len(context),
            "offsets": [(0, 0)] * 2 + [(i, i + 1) for i in range(len(context))],
        }

    rows = [row(0, 40, 41, 42), row(0, 40, 30, 41, 31, 42), row(1, 40, 41), row(1, 40, 30, 41)]
    encoded = Encoded(rows, pad_token_id=0, contexts=("abcde", "xyz"))
    head = Fixed(make_base()).train()
    first, second = predict_answers(head, encoded, batch_size=3)
    assert head.training  # as it was
    assert (first.text, first.start, first.end, first.margin) == (
        "bcd",
        1,
        4,
        6.0,
    )  # 5 + 5 against 2 + 2
    assert second.text == "yz" or second.text == "y"  # 5 + 0 against 4
    assert second.margin == 1.0
    windows = [(Span(3, 4, 3.0, 2.5, 0.4, 0.3), rows[0]), (Span(4, 4, 9.0, 6.0, 0.5, 0.2), rows[0])]
    assert answer_of(windows, "abcde") == Answer("c", 2, 3, 0.5, 3.0)  # margins 0.5 and 3
    assert answer_of(windows, "abcde", threshold=3.0) == Answer("", None, None, 0.2, 3.0)
    strict = predict_answers(head, encoded, threshold=1.0)
    assert strict[0] == first and strict[1].text == "" and strict[1].start is None
    assert isinstance(strict[1], Answer) and 0 < strict[1].probability < 1
