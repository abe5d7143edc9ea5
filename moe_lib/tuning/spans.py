"""From start and end logits to an answer: the best allowed span, or that there is none."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Annotated

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.modules import eval_mode
from moe_lib.tuning.examples import Encoded, collate
from moe_lib.tuning.span_extractor import SpanExtractor
from moe_lib.validation import Block, Count, checked, require_tensor

# "never" and "always" are answers too: infinite, but no NaN
Threshold = Annotated[
    float,
    Block("a number, infinite ones too", lambda x: _number(x), lambda x: not math.isnan(x)),
]


def _number(value):
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    return value


@dataclass(frozen=True)
class Span:
    """The best span of one window.

    start, end    its first and last token, both counted in
    score         start logit + end logit; no_answer is the same sum for "no answer"
    probability   of this span among all allowed ones and "no answer", 0 to 1
    no_answer_probability   of "no answer" among the same
    """

    start: int
    end: int
    score: float
    no_answer: float
    probability: float
    no_answer_probability: float


@dataclass(frozen=True)
class Answer:
    """The answer to one question: text and its place in the passage; "" and None where the passage
    has none.

    probability   of this answer in its window; for no answer, the smallest no-answer probability of
                  the windows
    margin        score of the best span minus that of "no answer" in the same window: above the
                  threshold, it answers
    """

    text: str
    start: int | None
    end: int | None
    probability: float
    margin: float


@checked
def best_span(logits: Tensor, max_answer_tokens: Count = 30) -> Span:
    """The span with the largest start + end logit that is allowed: end not before start, at most
    max_answer_tokens.

    logits (sequence + 1, 2): a row of SpanExtractor's, -inf outside the passage (so neither the
    question nor padding can be chosen), "no answer" last. Raises ValueError if no token is allowed.
    """
    require_tensor("logits", logits, ("sequence + 1", 2), "floating")
    require(len(logits) > 1, "logits", tuple(logits.shape), "a token and the place of no answer")
    require(not bool(logits.isnan().any()), "logits", "a NaN", "numbers")
    tokens, nowhere = logits[:-1].double(), float(logits[-1].double().sum())
    scores = tokens[:, :1] + tokens[None, :, 1]  # (start, end)
    places = torch.arange(len(tokens), device=scores.device)
    length = places[None] - places[:, None]  # end - start
    scores = scores.masked_fill((length < 0) | (length >= max_answer_tokens), -torch.inf)
    place = int(scores.argmax())
    start, end = divmod(place, len(tokens))
    best = float(scores[start, end])
    require(best == best, "logits", "NaN", "numbers")
    require(
        best > -float("inf"), "logits", "-inf at every token", "at least one token of the passage"
    )
    total = torch.logsumexp(torch.cat([scores.flatten(), scores.new_tensor([nowhere])]), 0)
    chances = torch.exp(torch.tensor([best, nowhere], dtype=torch.float64) - total.cpu())
    return Span(start, end, best, nowhere, float(chances[0]), float(chances[1]))


@checked
@torch.no_grad()
def predict_answers(
    head: SpanExtractor,
    encoded: Encoded,
    *,
    batch_size: Count = 32,
    max_answer_tokens: Count = 30,
    threshold: Threshold = 0.0,
) -> list[Answer]:
    """One Answer per question of `encoded` (from `encode_questions`), in their order.

    A question has several windows of its passage. In each, the best span is compared with that
    window's own "no answer"; the window with the largest margin speaks for the question, and there
    is an answer if its margin is above `threshold`: raise it to answer less often. Runs in eval
    mode and puts the mode back.
    """
    for row in encoded.rows[:1]:
        whole = {"example", "offsets"} <= set(row)
        require(whole, "encoded", f"rows with {', '.join(row)}", "rows of encode_questions")
    found: dict[int, list[tuple[Span, dict]]] = {}
    with eval_mode(head):
        for start in range(0, len(encoded.rows), batch_size):
            rows = encoded.rows[start : start + batch_size]
            batch = {
                name: part.to(head.base.device)
                for name, part in collate(rows, encoded.pad_token_id).items()
            }
            batch.pop("labels", None)
            for row, logits in zip(rows, head(**batch).logits.cpu(), strict=True):
                found.setdefault(row["example"], []).append(
                    (best_span(logits, max_answer_tokens), row)
                )
    return [
        answer_of(found[example], encoded.contexts[example], threshold) for example in sorted(found)
    ]


def answer_of(windows: list[tuple[Span, dict]], context: str, threshold: float = 0.0) -> Answer:
    """The Answer of one question, from its windows: pairs of the best span and the row
    (`encode_questions`) it is of.

    context is the passage. The window with the largest margin speaks; there is an answer if that is
    above threshold.
    """
    span, row = max(windows, key=lambda window: window[0].score - window[0].no_answer)
    margin = span.score - span.no_answer
    if margin <= threshold:
        return Answer("", None, None, min(s.no_answer_probability for s, _ in windows), margin)
    start, end = row["offsets"][span.start][0], row["offsets"][span.end][1]
    return Answer(context[start:end], start, end, span.probability, margin)
