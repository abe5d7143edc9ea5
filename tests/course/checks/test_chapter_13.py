"""Wrong answers to the exercises of chapter 13: each is refused, with the hint that fits it."""

import math

import torch
import torch.nn.functional as F

from moe_course import check
from tests.course.checks.wrong_answers import cases, refused

LITERAL = frozenset({"system", "user", "answer"})


def rows_by(
    literal=LITERAL,
    order="sua",
    form="{}",
    markers=True,
    end=True,
    labels=lambda labels, ids: labels,
):
    """A chat_row, right by default, with one thing done otherwise."""

    def chat_row(system, user, answer, tokenizer):
        texts = {"s": ("system", system), "u": ("user", user), "a": ("answer", answer)}
        roles = {"s": "<|system|>", "u": "<|user|>", "a": "<|assistant|>"}
        ids, learned = [], []
        for part in order:
            name, text = texts[part]
            cut = tokenizer(
                form.format(text), add_special_tokens=False, split_special_tokens=name in literal
            )["input_ids"]
            marker = [tokenizer.convert_tokens_to_ids(roles[part])] if markers else []
            ids += marker + cut
            learned += [-100] * len(marker) + (cut if part == "a" else [-100] * len(cut))
        if end:
            ids, learned = [*ids, tokenizer.eos_token_id], [*learned, tokenizer.eos_token_id]
        return ids, labels(learned, ids)

    return chat_row


def joined(system, user, answer, tokenizer):
    text = f"<|system|>{system}<|user|>{user}<|assistant|>{answer}<|end|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = len(ids) - ids[::-1].index(tokenizer.convert_tokens_to_ids("<|assistant|>"))
    return ids, [-100] * start + ids[start:]


def with_marker(labels, ids):
    first = next(i for i, label in enumerate(labels) if label != -100)
    return [*labels[: first - 1], ids[first - 1], *labels[first:]]


def without_end(labels, ids):
    return [*labels[:-1], -100]


CHAT = {
    "one string": (joined, "the user's text became a marker"),
    "nothing literal": (rows_by(literal=()), "the user's text became a marker"),
    "only the user's text": (rows_by(literal={"user"}), "the answer became a marker"),
    "not the user's text": (
        rows_by(literal={"system", "answer"}),
        "the user's text became a marker",
    ),
    "not the answer": (rows_by(literal={"system", "user"}), "the answer became a marker"),
    "not the system message": (
        rows_by(literal={"user", "answer"}),
        "the system message became a marker",
    ),
    "no system": (rows_by(order="ua"), "there is no system message"),
    "answer first": (rows_by(order="sau"), "answer stands before the user"),
    "spaces": (rows_by(form=" {} "), "for the eye only"),
    "line ends": (rows_by(form="{}\n"), "a line end after each text"),
    "no markers": (rows_by(markers=False), "the markers are missing"),
    "no end": (rows_by(end=False), "the end token of the answer is missing"),
    "prompt learned": (rows_by(labels=lambda labels, ids: ids), "the prompt is learned as well"),
    "end not learned": (rows_by(labels=without_end), "the end token has no label"),
    "marker learned": (rows_by(labels=with_marker), "the marker of the assistant is learned"),
    "shifted": (rows_by(labels=lambda labels, ids: [*labels[1:], -100]), "labels are shifted"),
    "answer's labels alone": (
        rows_by(labels=lambda labels, ids: [one for one in labels if one != -100]),
        "labels are of the answer alone",
    ),
    "the other way round": (
        rows_by(
            labels=lambda labels, ids: [
                i if label == -100 else -100 for i, label in zip(ids, labels, strict=True)
            ]
        ),
        "the other way round",
    ),
    "zeros": (
        rows_by(labels=lambda labels, ids: [max(label, 0) for label in labels]),
        "the label -100, not 0",
    ),
    "ids alone": (lambda *given: rows_by()(*given)[0], "Return two lists"),
}


def token_losses(logits, ids, shift=1):
    """(rows, S - shift): -log p of token i + shift by position i"""
    scores = logits[:, : logits.shape[1] - shift]
    return F.cross_entropy(scores.transpose(1, 2), ids[:, shift:], reduction="none")


def loss_by(mask=lambda is_answer: is_answer, shift=1, reduce=None, losses=token_losses):
    def answer_loss(logits, ids, is_answer):
        counted = mask(is_answer)[:, shift:]
        found = losses(logits, ids, shift) * counted
        return found.sum() / counted.sum() if reduce is None else reduce(found, counted, is_answer)

    return answer_loss


def broken(logits, ids, is_answer):
    labels = ids.masked_fill(~is_answer, -100)
    labels = F.pad(labels[:, 1:], (0, 1), value=-100)
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    per_row = losses.sum(1) / (labels[:, 1:] != -100).sum(1)
    return per_row.mean()


def marker_too(is_answer):
    return is_answer | torch.cat([is_answer[:, 1:], torch.zeros_like(is_answer[:, :1])], 1)


def but_the_first(is_answer):
    before = torch.cat([torch.zeros_like(is_answer[:, :1]), is_answer[:, :-1]], 1)
    return is_answer & before


def raw_logits(logits, ids, shift=1):
    scores = logits[:, : logits.shape[1] - shift]
    return -scores.gather(2, ids[:, shift:, None])[..., 0]


LOSS = {
    "the broken code": (broken, "shifted twice .*each row counts alike"),
    "shifted twice": (loss_by(shift=2), "labels are shifted twice: position"),
    "mean of rows": (
        loss_by(reduce=lambda found, counted, _: (found.sum(1) / counted.sum(1)).mean()),
        "each row counts alike, long answers",
    ),
    "not shifted": (loss_by(shift=0), "labels are not shifted"),
    "prompt too": (loss_by(mask=torch.ones_like), "prompt tokens are in the loss"),
    "all after the first": (
        loss_by(mask=lambda is_answer: is_answer.cumsum(1) > 0),
        "everything after the first answer token",
    ),
    "marker too": (loss_by(mask=marker_too), "the assistant's marker is in the loss"),
    "first token left out": (loss_by(mask=but_the_first), "first token of each answer"),
    "divided by all": (
        loss_by(reduce=lambda found, *_: found.mean()),
        "divided by all positions",
    ),
    "divided by rows": (
        loss_by(reduce=lambda found, *_: found.sum() / len(found)),
        "divided by the number of rows",
    ),
    "sum": (loss_by(reduce=lambda found, *_: found.sum()), "this is the sum over"),
    "bits": (
        loss_by(reduce=lambda found, counted, _: found.sum() / counted.sum() / math.log(2)),
        "this is in bits",
    ),
    "sign": (
        loss_by(reduce=lambda found, counted, _: -found.sum() / counted.sum()),
        "the sign is the other way round",
    ),
    "logits": (loss_by(losses=raw_logits), "these are the logits"),
    "a loss per row": (
        loss_by(reduce=lambda found, counted, _: found.sum(1) / counted.sum(1)),
        r"shape \(3,\); want \(\)",
    ),
}


def walk(logits, sequences, context=lambda written: written, pick=max, fits=None):
    written = []
    while written not in sequences:
        fits_now = fits or (lambda s, written: s[: len(written)] == written)
        left = [s for s in sequences if len(s) > len(written) and fits_now(s, written)]
        if not left:
            break
        scores = logits(context(written))
        written = [*written, pick({s[len(written)] for s in left}, key=lambda t: float(scores[t]))]
        if len(written) > 5:
            break
    return written


def free(logits, sequences):
    written = []
    while len(written) < 4 and 1 not in written:
        written.append(int(logits(written).argmax()))
    return written


def first_that_begins(logits, sequences):
    scores = logits([])
    first = max({s[0] for s in sequences}, key=lambda t: float(scores[t]))
    return next(s for s in sequences if s[0] == first)


def summed(logits, sequence, normalised):
    scores = [logits(sequence[:i]) for i in range(len(sequence))]
    scores = [one.log_softmax(-1) if normalised else one for one in scores]
    return sum(float(one[token]) for one, token in zip(scores, sequence, strict=True))


CONSTRAINED = {
    "free": (free, "the free model's likeliest token was taken"),
    "first that begins so": (first_that_begins, "the first sequence that begins with"),
    "no end": (lambda *given: walk(*given)[:-1], "only begun. Go on to the end"),
    "first token only": (lambda *given: walk(*given)[:1], "only begun. Go on to the end"),
    "logits once": (
        lambda logits, s: walk(logits, s, context=lambda written: []),
        "after nothing were used at every step",
    ),
    "last token as context": (
        lambda logits, s: walk(logits, s, context=lambda written: written[-1:]),
        "Only the last token was given",
    ),
    "largest sum": (
        lambda logits, s: max(s, key=lambda one: summed(logits, one, False)),
        "sequence with the largest sum",
    ),
    "likeliest as a whole": (
        lambda logits, s: max(s, key=lambda one: summed(logits, one, True)),
        "likeliest sequence as a whole",
    ),
    "least likely": (lambda logits, s: walk(logits, s, pick=min), "least likely token"),
    "fits its place only": (
        lambda logits, s: walk(logits, s, fits=lambda one, written: True),
        "not only its place",
    ),
    "always the same": (lambda logits, s: [3, 4, 1], r"is \[3, 4, 1\]; want \["),
    "nothing": (lambda logits, s: None, "is None"),
}


@cases(CHAT)
def test_wrong_chat_row_is_refused_with_its_hint(answer, hint):
    refused("13.1", answer, hint)


@cases(LOSS)
def test_wrong_answer_loss_is_refused_with_its_hint(answer, hint):
    refused("13.2", answer, hint)


@cases(CONSTRAINED)
def test_wrong_constrained_is_refused_with_its_hint(answer, hint):
    refused("13.3", answer, hint)


def test_right_answers_pass():
    assert check("13.1", rows_by()).passed
    assert check("13.2", loss_by()).passed

    def ignored(logits, ids, is_answer):
        labels = ids.masked_fill(~is_answer, -100)[:, 1:]
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())

    assert check("13.2", ignored).passed
    assert check("13.3", walk).passed
