"""Wrong answers to the exercises of chapter 02: each is refused, with the hint that fits it."""

import math
import re

import pytest
import torch

from moe_course import check


def uniform(shape, generator):
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def per_word(words, share, generator):
    """One draw for each word of each row; (batch, sequence) bool."""
    draws = uniform((len(words), int(words.max()) + 1), generator)
    return (draws.gather(1, words.clamp(min=0)) < share) & (words >= 0)


def finish(input_ids, picked, ids, generator, cuts=(0.8, 0.9), special=False, overwrite=False):
    labels = input_ids.masked_fill(~picked, -100)
    ordinary = [i for i in range(ids.vocab_size) if special or i not in ids.special_ids]
    ordinary = torch.tensor(ordinary)
    fate = uniform(input_ids.shape, generator)
    drawn = ordinary[(uniform(input_ids.shape, generator) * len(ordinary)).long()]
    corrupted = torch.where(picked & (fate < cuts[0]), ids.mask_token_id, input_ids)
    low = 0.0 if overwrite else cuts[0]
    corrupted = torch.where(picked & (fate >= low) & (fate < cuts[1]), drawn, corrupted)
    return corrupted, labels


def mask_words(input_ids, words, ids, generator, share=0.15, **wrong):
    return finish(input_ids, per_word(words, share, generator), ids, generator, **wrong)


def spread(word_hit):
    """A rule that makes whole words of draws for single tokens: `word_hit` of (hits, sizes)."""

    def answer(input_ids, words, ids, generator):
        single = (uniform(words.shape, generator) < 0.15) & (words >= 0)
        rows, most = len(words), int(words.max()) + 1
        places = words.clamp(min=0)
        hits = torch.zeros(rows, most).scatter_add(1, places, single.float())
        sizes = torch.zeros(rows, most).scatter_add(1, places, (words >= 0).float())
        picked = word_hit(hits, sizes).gather(1, places) & (words >= 0)
        return finish(input_ids, picked, ids, generator)

    return answer


def same_number_same_fate(input_ids, words, ids, generator):
    draws = uniform((int(words.max()) + 1,), generator)
    picked = (draws[words.clamp(min=0)] < 0.15) & (words >= 0)
    return finish(input_ids, picked, ids, generator)


def minus_one_is_a_word(input_ids, words, ids, generator):
    """An index of -1 takes the last draw of the row."""
    draws = uniform((len(words), int(words.max()) + 2), generator)
    picked = draws.gather(1, words % draws.shape[1]) < 0.15
    return finish(input_ids, picked, ids, generator)


def single_tokens(input_ids, words, ids, generator):
    picked = (uniform(words.shape, generator) < 0.15) & (words >= 0)
    return finish(input_ids, picked, ids, generator)


def rows_as_a_whole(input_ids, words, ids, generator):
    picked = (uniform((len(words), 1), generator) < 0.15).expand(words.shape) & (words >= 0)
    return finish(input_ids, picked, ids, generator)


def tokens_of_the_budget(input_ids, words, ids, generator):
    """So many words that 15 % of the tokens of long texts are hidden twice over."""
    return mask_words(input_ids, words, ids, generator, share=0.3)


def labels_after(input_ids, words, ids, generator):
    corrupted, labels = mask_words(input_ids, words, ids, generator)
    return corrupted, torch.where(labels != -100, corrupted, -100)


def in_place(input_ids, words, ids, generator):
    corrupted, labels = mask_words(input_ids, words, ids, generator)
    input_ids.copy_(corrupted)
    return input_ids, labels


def own_draws(input_ids, words, ids, generator):
    return mask_words(input_ids, words, ids, None)


def own_seed(input_ids, words, ids, generator):
    return mask_words(input_ids, words, ids, torch.Generator().manual_seed(0))


def others_change_too(input_ids, words, ids, generator):
    corrupted, labels = mask_words(input_ids, words, ids, generator)
    return torch.where(labels == -100, input_ids.roll(1, 0), corrupted), labels


def one_fate_per_word(input_ids, words, ids, generator):
    """Every token of a picked word is masked, or every one is drawn, or every one stays."""
    rows, most = len(words), int(words.max()) + 1
    places = words.clamp(min=0)
    picked = per_word(words, 0.15, generator)
    fate = uniform((rows, most), generator).gather(1, places)
    ordinary = torch.tensor([i for i in range(ids.vocab_size) if i not in ids.special_ids])
    drawn = ordinary[(uniform(input_ids.shape, generator) * len(ordinary)).long()]
    corrupted = torch.where(picked & (fate < 0.8), ids.mask_token_id, input_ids)
    corrupted = torch.where(picked & (fate >= 0.8) & (fate < 0.9), drawn, corrupted)
    return corrupted, input_ids.masked_fill(~picked, -100)


WORDS = {
    "one fate per word": (one_fate_per_word, "the same fate"),
    "17 % picked": (lambda *a: mask_words(*a, share=0.17), r"17\.\d% of words picked; want .* 15%"),
    "30 % picked": (tokens_of_the_budget, r"of words picked; want about 15%"),
    "78, 10, 12": (
        lambda *a: mask_words(*a, cuts=(0.78, 0.88)),
        r"7\d\.\d% of picked tokens turned into the mask; want about 80%",
    ),
    "80, 12, 8": (
        lambda *a: mask_words(*a, cuts=(0.8, 0.92)),
        r"of picked tokens (left|replaced)",
    ),
    "80, 20, 0": (lambda *a: mask_words(*a, cuts=(0.8, 1.0)), "0.0%|of picked tokens left"),
    "all masked": (lambda *a: mask_words(*a, cuts=(1.0, 1.0)), "100.0% of picked tokens turned"),
    "random overwrites the mask": (
        lambda *a: mask_words(*a, overwrite=True),
        "of picked tokens turned into the mask",
    ),
    "special replacements": (
        lambda *a: mask_words(*a, special=True),
        "random replacements are special tokens",
    ),
    "single tokens": (single_tokens, "words are picked in part"),
    "any token of a word": (spread(lambda h, s: h > 0), "a draw for each of its tokens"),
    "all tokens of a word": (spread(lambda h, s: h == s), "all of its tokens to be drawn"),
    "same number in all rows": (same_number_same_fate, "words of different rows"),
    "special tokens": (minus_one_is_a_word, r"special tokens \(word -1\) are picked"),
    "whole rows": (rows_as_a_whole, "Word 0 is picked|of words picked|words are picked"),
    "labels after": (labels_after, "A label should be the token that stood there"),
    "in place": (in_place, "whether input_ids is left as it was"),
    "swapped": (lambda *a: mask_words(*a)[::-1], "They are swapped"),
    "own draws": (own_draws, "every random draw should use `generator`"),
    "own seed": (own_seed, "Another seed gave the same result"),
    "others change": (others_change_too, "was not picked should stay"),
    "corrupted alone": (lambda *a: mask_words(*a)[0], "two tensors"),
}


def table(read, vocab):
    pairs = torch.zeros(vocab, vocab)
    pairs.index_put_((read[:, :-1].flatten(), read[:, 1:].flatten()), torch.ones(()), True)
    return pairs


def neighbour_loss(read, seen, labels, vocab):
    counts = table(read, vocab) + 1
    gap = labels[:, 1:] != -100
    p = (counts / counts.sum(1, keepdim=True))[seen[:, :-1][gap], labels[:, 1:][gap]]
    return -p.log().mean()


def with_table(change, normed=lambda t: t / t.sum(1, keepdim=True)):
    def answer(read, seen, labels, vocab):
        p = normed(change(table(read, vocab)))
        gap = labels[:, 1:] != -100
        return -p[seen[:, :-1][gap], labels[:, 1:][gap]].log().mean()

    return answer


def across_rows(read, seen, labels, vocab):
    return neighbour_loss(read.flatten()[None], seen, labels, vocab)


def to_the_right(read, seen, labels, vocab):
    counts = table(read, vocab) + 1
    gap = labels[:, :-1] != -100
    p = (counts / counts.sum(1, keepdim=True))[seen[:, 1:][gap], labels[:, :-1][gap]]
    return -p.log().mean()


def rolled(read, seen, labels, vocab):
    counts = table(read, vocab) + 1
    gap = labels != -100
    p = (counts / counts.sum(1, keepdim=True))[seen.roll(1, 1)[gap], labels[gap]]
    return -p.log().mean()


def unigram(read, seen, labels, vocab):
    counts = torch.bincount(read.flatten(), minlength=vocab) + 1.0
    true = labels[:, 1:][labels[:, 1:] != -100]
    return -(counts / counts.sum()).log()[true].mean()


def times(factor):
    return lambda *a: neighbour_loss(*a) * factor(*a)


def takers(read, seen, labels, vocab):
    return (labels[:, 1:] != -100).sum()


def mean_probability(read, seen, labels, vocab):
    counts = table(read, vocab) + 1
    gap = labels[:, 1:] != -100
    return (counts / counts.sum(1, keepdim=True))[seen[:, :-1][gap], labels[:, 1:][gap]].mean()


NEIGHBOURS = {
    "no smoothing": (with_table(lambda t: t), "Every count should begin at 1"),
    "pairs across rows": (across_rows, "last token of a row and the first of the next"),
    "shares of all pairs": (with_table(lambda t: t + 1, lambda t: t / t.sum()), "shares of all"),
    "given the right one": (
        with_table(lambda t: t + 1, lambda t: t / t.sum(0)),
        "which of the two is known",
    ),
    "exchanged": (with_table(lambda t: t.T + 1), "rows are exchanged"),
    "to the right": (to_the_right, "the neighbour on the right"),
    "first column": (rolled, "gaps in the first column"),
    "unigram": (unigram, "this is the unigram loss"),
    "sum": (times(takers), "this is the sum over the gaps"),
    "all positions": (times(lambda *a: takers(*a) / a[2].numel()), "you divide by all positions"),
    "all gaps": (times(lambda *a: takers(*a) / (a[2] != -100).sum()), "you divide by all gaps"),
    "sign": (times(lambda *a: -1), "the sign is the other way round"),
    "bits": (times(lambda *a: 1 / math.log(2)), "this is in bits"),
    "no logarithm": (mean_probability, "where is the logarithm"),
    "added to the sum": (
        with_table(lambda t: t, lambda t: (t + 1) / (t.sum(1, keepdim=True) + 1)),
        "add 1 before you divide",
    ),
    "one per row": (
        lambda r, s, y, v: torch.stack([neighbour_loss(r, s, y, v)] * len(s)),
        "shape",
    ),
}


def spans_to_sentinels(tokens, spans, sentinels, order=sorted, end=0):
    source, target, place = [], [], 0
    for (start, stop), sentinel in zip(order(spans), sentinels, strict=False):
        source += [*tokens[place:start], sentinel]
        target += [sentinel, *tokens[start : stop + end]]
        place = stop + end
    return source + tokens[place:], target


def after_its_span(tokens, spans, sentinels):
    source, target = spans_to_sentinels(tokens, spans, sentinels)
    turned = []
    for (start, stop), sentinel in zip(sorted(spans), sentinels, strict=False):
        turned += [*tokens[start:stop], sentinel]
    return source, turned


def one_per_token(tokens, spans, sentinels):
    source, target, place = [], [], 0
    for (start, stop), sentinel in zip(sorted(spans), sentinels, strict=False):
        source += tokens[place:start] + [sentinel] * (stop - start)
        target += [sentinel, *tokens[start:stop]]
        place = stop
    return source + tokens[place:], target


def in_the_list(tokens, spans, sentinels):
    """Cuts the spans out of the list that it was given."""
    source, target = spans_to_sentinels(tokens, spans, sentinels)
    tokens[:] = source
    return tokens, target


def without(tokens, spans, sentinels, side):
    both = [*spans_to_sentinels(tokens, spans, sentinels)]
    both[side] = [token for token in both[side] if token not in sentinels]
    return tuple(both)


def whole_text(tokens, spans, sentinels):
    source, target = spans_to_sentinels(tokens, spans, sentinels)
    return source, [*target, *[token for token in source if token not in sentinels]]


def closing_sentinel(tokens, spans, sentinels):
    source, target = spans_to_sentinels(tokens, spans, sentinels)
    return source, [*target, *sentinels[len(spans) : len(spans) + 1]]


SPANS = {
    "one sentinel for all": (
        lambda t, s, x: spans_to_sentinels(t, s, x[:1] * len(s)),
        "all spans have one sentinel",
    ),
    "stop belongs to it": (
        lambda t, s, x: spans_to_sentinels(t, s, x, end=1),
        "ends before `stop`",
    ),
    "as they come": (
        lambda t, s, x: spans_to_sentinels(t, s, x, order=list),
        "not in that of the text",
    ),
    "sentinel behind": (after_its_span, "stands before its span"),
    "one per token": (one_per_token, "one for the whole span"),
    "whole text": (whole_text, "can be read in the source anyway"),
    "no sentinels in the target": (
        lambda *a: without(*a, side=1),
        "which answer belongs to which gap",
    ),
    "no sentinels in the source": (lambda *a: without(*a, side=0), "lost the places of the spans"),
    "closing sentinel": (closing_sentinel, "one sentinel too many"),
    "exchanged": (lambda *a: spans_to_sentinels(*a)[::-1], "the source first"),
    "changes its lists": (in_the_list, "have changed: work on copies"),
    "source alone": (lambda *a: spans_to_sentinels(*a)[0], "should return two lists"),
    "text joined": (
        lambda *a: tuple("".join(map(str, side)) for side in spans_to_sentinels(*a)),
        "spans_to_sentinels",
    ),
    "tuples": (lambda *a: tuple(map(tuple, spans_to_sentinels(*a))), "spans_to_sentinels|a list"),
}


def means(model, batches):
    with torch.no_grad():
        return [model(**batch).loss.item() for batch in batches]


def labelled(batch):
    return int((batch["labels"] != -100).sum())


def weighed(weight, divide):
    def answer(model, batches):
        total = sum(m * weight(b) for m, b in zip(means(model, batches), batches, strict=True))
        return total / divide(batches)

    return answer


def rows_of(batch):
    return len(batch["input_ids"])


AVERAGE = {
    "of means, by rows": (
        weighed(lambda b: 1, lambda bs: sum(map(rows_of, bs))),
        "no mean of anything",
    ),
    "mean of means": (weighed(lambda b: 1, len), "the mean of the batches' means"),
    "weighed by rows": (weighed(rows_of, lambda bs: sum(map(rows_of, bs))), "you weigh by rows"),
    "right sum, by rows": (
        weighed(labelled, lambda bs: sum(map(rows_of, bs))),
        "number of hidden tokens, not of rows",
    ),
    "by positions": (
        weighed(labelled, lambda bs: sum(b["labels"].numel() for b in bs)),
        "all positions",
    ),
    "sum": (weighed(labelled, lambda bs: 1), "this is the sum over the hidden tokens"),
    "weighed by positions": (
        weighed(lambda b: b["labels"].numel(), lambda bs: sum(b["labels"].numel() for b in bs)),
        "you weigh by positions",
    ),
    "last batch": (lambda m, bs: means(m, bs)[-1], "one batch alone"),
    "perplexity": (
        lambda m, bs: math.exp(weighed(labelled, lambda b: sum(map(labelled, b)))(m, bs)),
        "the exponential of the loss",
    ),
    "list": (lambda m, bs: means(m, bs), "should return one float"),
}

WRONG = {"02.1": WORDS, "02.2": NEIGHBOURS, "02.3": SPANS, "02.4": AVERAGE}


@pytest.mark.parametrize(
    "exercise, name", [(exercise, name) for exercise in WRONG for name in WRONG[exercise]]
)
def test_a_wrong_answer_is_refused_with_its_hint(exercise, name):
    answer, words = WRONG[exercise][name]
    verdict = check(exercise, answer)
    assert verdict.status == "not yet", verdict
    assert re.search(words, verdict.message), verdict.message
    assert "stopped at" not in verdict.message


@pytest.mark.parametrize(
    "exercise, answer",
    [
        ("02.1", mask_words),
        ("02.2", neighbour_loss),
        ("02.2", lambda *a: float(neighbour_loss(*a))),
        ("02.3", spans_to_sentinels),
        ("02.4", weighed(labelled, lambda batches: sum(map(labelled, batches)))),
    ],
)
def test_right_answers_of_several_kinds_pass(exercise, answer):
    assert check(exercise, answer).passed, check(exercise, answer)


def test_each_exercise_has_at_least_six():
    assert min(map(len, WRONG.values())) >= 6
