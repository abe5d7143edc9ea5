"""Checks of the exercises of chapter 02."""

import math

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import (
    NotYet,
    expect_answer,
    expect_close,
    expect_equal,
    expect_true,
)
from moe_course.checks.whole_words import check_mask_words
from moe_lib import LanguageModel, ModelConfig


def _gaps(rows: int, length: int, vocab: int):
    """Corrupted rows (rows, length) with labels at their gaps, also at both ends of a row."""
    true = torch.randint(1, vocab, (rows, length))
    gap = torch.rand(rows, length) < 0.25
    gap[0, 0] = gap[1, -1] = gap[1, 2] = gap[1, 3] = True
    seen = torch.where(gap, 0, true)  # token 0 is the mask here
    return seen, torch.where(gap, true, -100)


def check_neighbour_loss(neighbour_loss):
    for rows, length, vocab in ((6, 9, 5), (4, 12, 7)):
        read = torch.randint(1, vocab, (30, 11))
        read[:, 1::2] = read[:, ::2][:, :5].clamp(min=2) - 1  # a left neighbour says something
        seen, labels = _gaps(rows, length, vocab)
        pairs = torch.zeros(vocab, vocab)
        for row in read.tolist():
            for left, right in zip(row, row[1:], strict=False):
                pairs[left, right] += 1
        across = torch.zeros(vocab, vocab)
        flat = read.flatten().tolist()
        for left, right in zip(flat, flat[1:], strict=False):
            across[left, right] += 1
        alone = torch.bincount(read.flatten(), minlength=vocab) + 1.0
        right = _table_loss(pairs + 1, seen, labels)
        hints = {
            "you count the last token of a row and the first of the next as a pair: rows are "
            "different places of the text": _table_loss(across + 1, seen, labels),
            "these are shares of all pairs: divide by the pairs that begin with the left "
            "token": _table_loss(pairs + 1, seen, labels, normed=lambda t: t / t.sum()),
            "your table is the chance of the left token, given the right one: which of the two is "
            "known?": _table_loss(pairs + 1, seen, labels, normed=lambda t: t / t.sum(0)),
            "you look at the neighbour on the right": _table_loss(pairs + 1, seen, labels, side=1),
            "the table's columns and rows are exchanged: pairs[left, right]": _table_loss(
                pairs.T + 1, seen, labels
            ),
            "this is the unigram loss: where is the left neighbour?": _unigram(alone, labels),
            "gaps in the first column have no left neighbour: leave them out (the one before "
            "column 0 is not the last of the row)": _table_loss(
                pairs + 1, seen, labels, first=True
            ),
            "this is the sum over the gaps: divide by their number": _table_loss(
                pairs + 1, seen, labels, mean=False
            ),
            "you divide by all positions: divide by the number of gaps that take part": _table_loss(
                pairs + 1, seen, labels, mean=False
            )
            / labels.numel(),
            "you divide by all gaps, but those in the first column take no part": _table_loss(
                pairs + 1, seen, labels, mean=False
            )
            / (labels != -100).sum(),
            "the sign is the other way round: a loss is minus a log-probability": -right,
            "this is in bits: nats are natural logarithms": right / math.log(2),
            "this is the mean probability: where is the logarithm?": _table_loss(
                pairs + 1, seen, labels, log=lambda p: -p
            ),
            "the counts of a left token begin at 1 for each of the vocabulary: add 1 before you "
            "divide, not to the sum alone": _table_loss(
                pairs, seen, labels, normed=lambda t: (t + 1) / (t.sum(1, keepdim=True) + 1)
            ),
        }
        answer = neighbour_loss(read, seen, labels, vocab)
        number = torch.as_tensor(expect_answer(answer, "neighbour_loss(…)"))
        expect_true(
            number.isfinite().all() or number.numel() != 1,
            f"the loss is {number}: some pair never occurs in `read`, and log 0 is minus infinity. "
            "Every count should begin at 1.",
        )
        expect_close(answer, right, "the loss of a table of pairs", hints, atol=1e-4)
    return "Counted in one text, measured in another, at the gaps alone."


def _table_loss(
    pairs,
    seen,
    labels,
    *,
    side=-1,
    first=False,
    mean=True,
    normed=lambda t: t / t.sum(1, keepdim=True),
    log=torch.log,
):
    """Loss at the gaps of a table pairs[neighbour, token]; each option is one way to go wrong."""
    neighbour = seen.roll(-side, 1)
    gap = labels != -100
    if not first:
        gap[:, 0 if side < 0 else -1] = False
    values = -log(normed(pairs.double()))[neighbour[gap], labels[gap]]
    return values.mean() if mean else values.sum()


def _unigram(counts, labels):
    gap = labels != -100
    gap[:, 0] = False
    return -(counts / counts.sum()).log()[labels[gap]].mean()


CASES = (  # tokens, spans from the first to before the last, sentinels
    (list("abcdefgh"), [(1, 3), (5, 6)], ["S0", "S1", "S2"]),
    ([11, 12, 13, 14], [(0, 2)], [90, 91]),
    (list("abcdef"), [(4, 6), (0, 1)], ["X", "Y"]),  # not in the order of the text
    (list("abcdef"), [(1, 3), (3, 4)], ["X", "Y", "Z"]),  # side by side
    (list("ab"), [], ["X"]),
)


def _as_sentinels(tokens, spans, sentinels, *, end=0, order=sorted, after=False, each=False):
    """Source and target; each option is one way to go wrong."""
    source, target, place = [], [], 0
    for (start, stop), sentinel in zip(order(spans), sentinels, strict=False):
        stop += end
        marks = [sentinel] * (stop - start if each else 1)
        source += [*tokens[place:start], *marks]
        target += [*tokens[start:stop], sentinel] if after else [sentinel, *tokens[start:stop]]
        place = stop
    return source + tokens[place:], target


def check_spans(spans_to_sentinels):
    for tokens, spans, sentinels in CASES:
        given = list(tokens), list(spans), list(sentinels)
        answer = spans_to_sentinels(*given)
        said = f"spans_to_sentinels({tokens}, {spans}, {sentinels})"
        expect_answer(answer, said)
        two = isinstance(answer, tuple | list) and len(answer) == 2
        expect_true(two, f"{said} should return two lists: source, target.")
        changed = given != (tokens, spans, sentinels)
        expect_true(not changed, "The lists that were given have changed: work on copies.")
        source, target = _as_sentinels(tokens, spans, sentinels)
        one = sentinels[:1] * len(spans)
        hints = {
            "they are exchanged: the source first, then the target": [target, source],
            "all spans have one sentinel: how would a reader know which answer belongs "
            "where?": list(_as_sentinels(tokens, spans, one)),
            "a span (start, stop) ends before `stop`, as a slice does": list(
                _as_sentinels(tokens, spans, sentinels, end=1)
            ),
            "the spans are taken in the order they are given, not in that of the text": list(
                _as_sentinels(tokens, spans, sentinels, order=list)
            ),
            "in the target a sentinel stands before its span, so that it can be asked for": list(
                _as_sentinels(tokens, spans, sentinels, after=True)
            ),
            "one sentinel per token gives the length of the span away: one for the whole "
            "span": list(_as_sentinels(tokens, spans, sentinels, each=True)),
            "the target holds the whole text: which tokens can be read in the source anyway?": [
                source,
                [*target, *[t for t in source if t not in sentinels]],
            ],
            "the target lacks the sentinels: which answer belongs to which gap?": [
                source,
                [token for token in target if token not in sentinels],
            ],
            "the source has lost the places of the spans: put a sentinel there": [
                [token for token in source if token not in sentinels],
                target,
            ],
            "there is one sentinel too many at the end of the target": [
                source,
                [*target, *sentinels[len(spans) : len(spans) + 1]],
            ],
        }
        wrong = [*answer]
        if wrong != [source, target]:
            expect_equal(wrong, [source, target], said, hints)
        for got, name in zip(answer, ("source", "target"), strict=True):
            expect_true(isinstance(got, list), f"The {name} of {said} should be a list.")
    return "Source and target together hold every token once."


def check_heldout_loss(heldout_loss):
    model = LanguageModel(
        ModelConfig(
            vocab_size=13,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            causal=False,
            initializer_range=1.0,
        )
    ).eval()
    for sizes in (((4, 6, 3), (2, 8, 9), (1, 5, 1)), ((3, 5, 15), (5, 4, 2))):
        batches, means = [], []
        for rows, length, count in sizes:
            input_ids = torch.randint(0, 13, (rows, length))
            labels = torch.full_like(input_ids, -100)
            chosen = torch.randperm(rows * length)[:count]
            labels.view(-1)[chosen] = input_ids.view(-1)[chosen]
            batches.append({"input_ids": input_ids, "labels": labels})
            with torch.no_grad():
                logits = model(input_ids).logits
            means.append(
                F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()
            )
        counts, rows = [size[2] for size in sizes], [size[0] for size in sizes]
        right = sum(m * c for m, c in zip(means, counts, strict=True)) / sum(counts)
        by_rows = sum(m * r for m, r in zip(means, rows, strict=True)) / sum(rows)
        total = sum(m * c for m, c in zip(means, counts, strict=True))
        cells = [b["labels"].numel() for b in batches]
        by_positions = sum(m * n for m, n in zip(means, cells, strict=True)) / sum(cells)
        answer = heldout_loss(model, batches)
        expect_answer(answer, "heldout_loss(model, batches)")
        if not isinstance(answer, float) and not torch.is_tensor(answer):
            raise NotYet(
                "heldout_loss should return one float for all batches, not a "
                f"{type(answer).__name__}."
            )
        expect_close(
            answer,
            right,
            f"the loss of {len(sizes)} batches",
            hints={
                "a sum of means, divided by the number of rows, is no mean of anything": sum(means)
                / sum(rows),
                "this is the mean of the batches' means: batches with few hidden tokens "
                "count too much": sum(means) / len(means),
                "you weigh by rows: rows hide different numbers of tokens": by_rows,
                "the sum is right; divide by the number of hidden tokens, not of rows": total
                / sum(rows),
                "you divide by all positions, not by the hidden ones": total
                / sum(b["labels"].numel() for b in batches),
                "this is the sum over the hidden tokens: divide by their number": total,
                "you weigh by positions: a batch counts by what it hides": by_positions,
                "this is the exponential of the loss, the perplexity": math.exp(right),
                "this is the loss of one batch alone": lambda loss, each=tuple(means): any(
                    math.isclose(float(loss), one, abs_tol=1e-4) for one in each
                ),
            },
            atol=1e-4,
        )
    return "Every hidden token counts the same, whatever batch it is in."


CHECKS = {
    "02.1": check_mask_words,
    "02.2": check_neighbour_loss,
    "02.3": check_spans,
    "02.4": check_heldout_loss,
}
