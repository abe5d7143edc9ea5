"""Questions about passages, for a SpanExtractor: windows over long passages, and answers mapped to
tokens."""

from collections.abc import Mapping, Sequence

from moe_lib.errors import is_whole, require, require_texts
from moe_lib.tuning.arguments import Listed, TextList, require_list
from moe_lib.tuning.encoding import text_frame, token_lists
from moe_lib.tuning.examples import Encoded
from moe_lib.tuning.overlap import shared_places
from moe_lib.validation import Count, Flag, Natural, Tokenizer, checked

NO_ANSWER = [-1, -1]


@checked
def encode_questions(
    questions: TextList,
    contexts: TextList,
    answers: Listed | None,
    tokenizer: Tokenizer,
    *,
    max_length: Count = 256,
    stride: Natural = 64,
    mark_shared_words: Flag = False,
) -> Encoded:
    """Question, separator, a window of the passage, end token -> Encoded, for a SpanExtractor. With
    a tokenizer of BERT's kind: [CLS], question, [SEP], window, [SEP].

    answers      as in SQuAD 2: {"text": [...], "answer_start": [...]}, empty lists for no answer.
                 Training uses the first. None: labels are not known
    max_length   tokens of a row. A longer passage gets several windows, none of it is lost
    stride       tokens that neighbouring windows share, as in transformers; make it longer than an
                 answer, or one at the seam is whole in no window
    mark_shared_words  True: context_mask is 2 at the tokens of words that the question has too
                 (`shared_places`), for a SpanExtractor with a match_vector

    Row by row: "example" (which question), "context_mask" (1 in the passage), "offsets" (first and
    last + 1 character of each token in the passage, spaces in front left out; (0, 0) elsewhere),
    "labels" [first token, last token]; [-1, -1] if the window does not hold the whole answer: the
    model must learn to say "not here".

    Raises ValueError for a span that is not in its passage, naming it, or a question that leaves no
    room.
    """
    require_texts("questions", questions)
    require_texts("contexts", contexts)
    require(
        len(questions) == len(contexts),
        "contexts",
        len(contexts),
        f"one per question ({len(questions)})",
    )
    question_ids, context_ids = (
        token_lists(questions, tokenizer, "questions"),
        token_lists(contexts, tokenizer, "contexts"),
    )
    wants = f"less than max_length − 3 ({max_length - 3}): a window holds a question, too"
    require(stride < max_length - 3, "stride", stride, wants)
    before, after = text_frame(tokenizer)
    spans = [None] * len(questions) if answers is None else _spans(answers, contexts)
    kept: dict[str, list] = {}  # several questions share a passage
    rows = []
    for index, (question, context) in enumerate(zip(question_ids, context_ids, strict=True)):
        room = max_length - len(question) - len(before) - 2
        require(
            room > stride,
            f"questions[{index}]",
            f"{len(question)} tokens",
            f"at most {room + len(question) - stride - 1}: max_length − stride − {3 + len(before)}",
        )
        if contexts[index] not in kept:
            kept[contexts[index]] = token_places(contexts[index], tokenizer)
        places = kept[contexts[index]]
        head = [*before, *question, tokenizer.sep_token_id]
        shared = shared_places(questions[index], contexts[index]) if mark_shared_words else []
        marks = [1 + any(first < b and last > a for a, b in shared) for first, last in places]
        for start in window_starts(len(context), room, stride):
            end = min(start + room, len(context))
            row = {
                "example": index,
                "input_ids": [*head, *context[start:end], *after],
                "context_mask": [0] * len(head) + marks[start:end] + [0],
                "offsets": [(0, 0)] * len(head) + places[start:end] + [(0, 0)],
            }
            if answers is not None:
                row["labels"] = _label(spans[index], places, start, end, len(head))
            rows.append(row)
    return Encoded(rows, tokenizer.pad_token_id, contexts=tuple(contexts))


def window_starts(length: int, room: int, stride: int) -> list[int]:
    """Where windows of `room` tokens begin so that they cover `length` tokens and neighbours share
    `stride`."""
    starts = [0]
    while starts[-1] + room < length:
        starts.append(starts[-1] + room - stride)
    return starts


def token_places(text: str, tokenizer) -> list[tuple[int, int]]:
    """First character and last + 1 of every token; the spaces that byte-level tokens begin with are
    left out."""
    offsets = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )["offset_mapping"]
    places = []
    for start, end in offsets:
        while start < end and text[start].isspace():
            start += 1
        places.append((start, end))
    return places


def _spans(answers: Sequence[dict], contexts: Sequence[str]) -> list[tuple[int, int] | None]:
    """Character spans, checked; None for no answer."""
    require(
        len(answers) == len(contexts),
        "answers",
        len(answers),
        f"one per question ({len(contexts)})",
    )
    spans = []
    for index, (answer, context) in enumerate(zip(answers, contexts, strict=True)):
        _check_answer(f"answers[{index}]", answer)
        texts, starts = answer["text"], answer["answer_start"]
        require(len(texts) == len(starts), f"answers[{index}]", answer, "as many texts as starts")
        for text, start in zip(texts, starts, strict=True):
            there = start >= 0 and text.strip() != "" and context[start : start + len(text)] == text
            found = context[start : start + len(text)] if start >= 0 else ""
            require(
                there,
                f"answers[{index}]",
                f"{text!r} at {start}, where the passage has {found!r}",
                "a span that is in its passage",
            )
        spans.append((starts[0], starts[0] + len(texts[0])) if texts else None)
    return spans


def _check_answer(name: str, answer: object) -> None:
    """As in SQuAD 2: two lists, of texts and of whole numbers."""
    whole = isinstance(answer, Mapping) and {"text", "answer_start"} <= set(answer)
    require(whole, name, answer, '{"text": […], "answer_start": […]}', TypeError)
    require_texts(f"{name}['text']", answer["text"])
    require_list(f"{name}['answer_start']", answer["answer_start"], "a list of whole numbers")
    for start in answer["answer_start"]:
        require(is_whole(start), f"{name}['answer_start']", start, "whole numbers", TypeError)


def _label(
    span: tuple[int, int] | None, places: list, start: int, end: int, before: int
) -> list[int]:
    """First and last token of a character span in the window start … end, which stands after
    `before` tokens."""
    if span is None:
        return list(NO_ANSWER)
    tokens = [
        token for token, (first, last) in enumerate(places) if first < span[1] and last > span[0]
    ]
    if not tokens or tokens[0] < start or tokens[-1] >= end:
        return list(NO_ANSWER)
    return [tokens[0] - start + before, tokens[-1] - start + before]
