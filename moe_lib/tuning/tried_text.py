"""What a fine-tuned head says about one text, with the routing of the tokens behind it: a record to
show.

    answer = ClassifyText(head, tokenizer, label_names, abstain_below=0.5)
    answer("The parcel never came.").bars        # (("refund_missing", 0.61), …)
    answer = FindAnswer(head, tokenizer)
    answer("Ada wrote it in 1843.", "Who wrote it?").span     # (0, 3)

`moe_lib.views.TryOut(answer)` makes a box of either, in which readers type.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from moe_lib.errors import require
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import eval_mode
from moe_lib.tuning.encoding import encode_texts
from moe_lib.tuning.examples import collate
from moe_lib.tuning.heads import SequenceClassifier
from moe_lib.tuning.questions import encode_questions, token_places
from moe_lib.tuning.span_extractor import SpanExtractor
from moe_lib.tuning.spans import Span, Threshold, answer_of, best_span
from moe_lib.validation import Count, Natural, Share, Text, Texts, Tokenizer, checked, whole


@dataclass(frozen=True)
class TokenRoute:
    """One token that the model read: its text, and in `experts` {layer: ((expert, weight), …)},
    best first."""

    text: str
    experts: dict[int, tuple[tuple[int, float], ...]]


@dataclass(frozen=True)
class TriedText:
    """What a head says about one text.

    answer       the likeliest label, or the span found; "" where it abstains or finds no answer
    bars         (name, probability) of labels, or of spans and "no answer"; likeliest first
    span         (start, end) of the answer in the text, in characters; None for labels and without
                 an answer
    no_answer    why there is none, in words; "" where there is one
    routes       a TokenRoute for each token behind the answer; routes_of says which tokens these
                 are
    n_experts    {layer: number of experts}; empty for a dense model
    note         what else a reader should know (text that was cut)
    """

    answer: str
    bars: tuple[tuple[str, float], ...]
    span: tuple[int, int] | None
    no_answer: str
    routes: tuple[TokenRoute, ...]
    routes_of: str
    n_experts: dict[int, int]
    note: str = ""


@checked
@dataclass(frozen=True)
class ClassifyText:
    """text -> TriedText with a bar per label. Below `abstain_below` the likeliest label is not
    given as an answer.

    Raises TypeError if head is no SequenceClassifier, ValueError for label_names that do not fit
    it.
    """

    head: SequenceClassifier
    tokenizer: Tokenizer
    label_names: Texts
    abstain_below: Share = 0.0
    max_length: Annotated[int, whole(2)] = 128

    asks = False  # no question beside the text

    def __post_init__(self):
        check_vocabulary(self.tokenizer, self.head.config)
        n_labels = self.head.settings["n_labels"]
        require(
            len(self.label_names) == n_labels,
            "label_names",
            len(self.label_names),
            f"{n_labels}, as the head has",
        )

    @checked
    @torch.no_grad()
    def __call__(self, text: Text, question: Text | None = None) -> TriedText:
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        cut = max(0, len(ids) - self.max_length + 1)
        encoded = encode_texts(
            [text], None, self.tokenizer, max_length=max(self.max_length, len(ids) + 1)
        )
        row = {"input_ids": [*ids[: len(ids) - cut], *encoded.rows[0]["input_ids"][-1:]]}
        output = _forward(self.head, [row], encoded.pad_token_id)
        probabilities = output.logits[0].float().softmax(-1).tolist()
        bars = sorted(zip(self.label_names, probabilities, strict=True), key=lambda bar: -bar[1])
        sure = bars[0][1] >= self.abstain_below
        why = (
            ""
            if sure
            else (
                f"The likeliest label, {bars[0][0]}, has {100 * bars[0][1]:.0f} %, less than the "
                f"{100 * self.abstain_below:.0f} % asked for: the model abstains."
            )
        )
        tokens = _pieces(text, self.tokenizer)[: len(row["input_ids"]) - 1]
        routes, sizes = _routes(output.routing, range(len(tokens)), tokens, 0)
        note = f"{cut} tokens beyond the first {self.max_length - 1} were not read." if cut else ""
        answer = bars[0][0] if sure else ""
        return TriedText(
            answer, tuple(bars), None, why, routes, "all tokens of the text", sizes, note
        )


@checked
@dataclass(frozen=True)
class FindAnswer:
    """(text, question) -> TriedText with the span that answers it, as `predict_answers` finds it,
    or "no answer".

    The bars are the likeliest spans and "no answer" in the window that speaks for the text.
    Raises TypeError if head is no SpanExtractor.
    """

    head: SpanExtractor
    tokenizer: Tokenizer
    threshold: Threshold = 0.0
    max_length: Count = 256
    stride: Natural = 64
    max_answer_tokens: Count = 30

    asks = True

    def __post_init__(self):
        check_vocabulary(self.tokenizer, self.head.config)

    @checked
    @torch.no_grad()
    def __call__(self, text: Text, question: Text) -> TriedText:
        encoded = encode_questions(
            [question],
            [text],
            None,
            self.tokenizer,
            max_length=self.max_length,
            stride=self.stride,
            mark_shared_words=self.head.settings["match_vector"],
        )
        rows = encoded.rows
        output = _forward(self.head, rows, encoded.pad_token_id)
        spans = [best_span(logits, self.max_answer_tokens) for logits in output.logits]
        windows = list(zip(spans, rows, strict=True))
        answer = answer_of(windows, text, self.threshold)
        margins = [span.score - span.no_answer for span, _ in windows]
        number = margins.index(max(margins))  # the window that speaks
        span, row = windows[number]
        there = answer.start is not None
        if there:
            shown, which = range(span.start, span.end + 1), "the tokens of the answer"
            tokens = [text[slice(*row["offsets"][place])] for place in shown]
        else:
            tokens = _pieces(question, self.tokenizer)
            shown, which = range(len(tokens)), "the tokens of the question, as there is no answer"
        width = output.logits.shape[1] - 1
        routes, sizes = _routes(output.routing, shown, tokens, number * width)
        why = "" if there else "No answer: the model holds that the text does not say."
        if not there and self.threshold > 0 and margins[number] > 0:
            lead = margins[number]
            why = (
                f"No answer: the best span leads by {lead:.2f}, less than the threshold "
                f"{self.threshold:g}."
            )
        bars = _span_bars(output.logits[number], row, text, span, self.max_answer_tokens)
        note = f"Read in {len(rows)} overlapping windows." if len(rows) > 1 else ""
        place = (answer.start, answer.end) if there else None
        return TriedText(answer.text, bars, place, why, routes, which, sizes, note)


def _forward(head, rows: list[dict], pad_token_id: int):
    batch = {name: part.to(head.base.device) for name, part in collate(rows, pad_token_id).items()}
    with eval_mode(head):
        return head(**batch)


def _pieces(text: str, tokenizer) -> list[str]:
    """The text of each token."""
    return [text[start:end] for start, end in token_places(text, tokenizer)]


def _routes(
    routing, shown, tokens: list[str], offset: int
) -> tuple[tuple[TokenRoute, ...], dict[int, int]]:
    """Routes of the tokens at places `shown` of a row whose first token is number `offset` of the
    batch."""
    layers = {index: layer for index, layer in enumerate(routing) if layer is not None}
    routes = []
    for place, token in zip(shown, tokens, strict=True):
        experts = {}
        for index, layer in layers.items():
            columns = zip(
                *(
                    part[offset + place].tolist()
                    for part in (layer.experts, layer.weights, layer.choices())
                ),
                strict=True,
            )
            experts[index] = tuple((expert, weight) for expert, weight, chosen in columns if chosen)
        routes.append(TokenRoute(token, experts))
    return tuple(routes), {index: layer.n_experts for index, layer in layers.items()}


def _span_bars(logits: Tensor, row: dict, text: str, best: Span, longest: int, n: int = 4) -> tuple:
    """The n likeliest spans of a window, and "no answer": all shares of one softmax, as in
    `best_span`."""
    scores = (logits[:-1, :1] + logits[None, :-1, 1]).double().cpu()  # (start, end)
    places = torch.arange(len(scores))
    length = places[None] - places[:, None]
    scores = scores.masked_fill((length < 0) | (length >= longest), -torch.inf).flatten()
    shares = torch.cat([scores, torch.tensor([best.no_answer], dtype=torch.float64)]).softmax(0)
    bars = [("no answer", float(shares[-1]))]
    for place in shares[:-1].topk(min(n, int((scores > -torch.inf).sum()))).indices.tolist():
        start, end = divmod(place, len(places))
        bars.append(
            (f"“{text[row['offsets'][start][0] : row['offsets'][end][1]]}”", float(shares[place]))
        )
    return tuple(sorted(bars, key=lambda bar: -bar[1]))
