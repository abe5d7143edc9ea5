"""The check of exercise 02.1, masking of whole words: what is picked, and what becomes of it."""

import torch

from moe_course.checks.comparisons import (
    NotYet,
    expect_answer,
    expect_equal,
    expect_shape,
    expect_true,
)
from moe_lib.text import MaskingIds

IDS = MaskingIds(mask_token_id=17, special_ids=(0, 5, 17, 39), vocab_size=40)


def _text_with_words(rows: int, length: int):
    """input_ids (rows, length), words like it: the number of a token's word in its row, from 0, and
    -1 at special tokens. Words have one token to a few; padding stands at the end of each row."""
    ordinary = torch.tensor([token for token in range(40) if token not in IDS.special_ids])
    input_ids = ordinary[torch.randint(0, len(ordinary), (rows, length))]
    special = torch.zeros(rows, length, dtype=torch.bool)
    special[:, ::11] = True  # also before the first word
    special[:, -length // 6 :] = True
    starts = (torch.rand(rows, length) < 0.45) | special | special.roll(1, 1)
    words = ((starts & ~special).cumsum(1) - 1).masked_fill(special, -1)
    return torch.where(special, torch.tensor(0), input_ids), words


def check_mask_words(mask_words):
    input_ids, words = _text_with_words(800, 600)
    original = input_ids.clone()
    answer = mask_words(input_ids, words, IDS, torch.Generator().manual_seed(1))
    expect_answer(answer, "mask_words(…)")
    both = isinstance(answer, tuple) and len(answer) == 2
    expect_true(both, "mask_words should return two tensors: corrupted, labels.")
    corrupted, labels = answer
    if torch.is_tensor(corrupted) and torch.is_tensor(labels):
        swapped = bool((corrupted == -100).any()) and not bool((labels == -100).any())
        expect_true(not swapped, "They are swapped: return corrupted first, then labels.")
    unchanged = bool(torch.equal(input_ids, original))
    expect_equal(unchanged, True, "whether input_ids is left as it was")
    for value, name in ((corrupted, "corrupted"), (labels, "labels")):
        expect_shape(value, tuple(input_ids.shape), name)
    picked = labels != -100
    _expect_whole_words(picked, words)
    right = torch.equal(labels[picked], input_ids[picked])
    expect_true(right, "A label should be the token that stood there.")
    right = torch.equal(corrupted[~picked], input_ids[~picked])
    expect_true(right, "A token that was not picked should stay.")
    _expect_fates(corrupted[picked], labels[picked])
    _expect_own_fates(picked & (corrupted == IDS.mask_token_id), picked, words)
    _expect_generator(mask_words, input_ids, words, answer)
    return "15 % of the words, whole; 80, 10 and 10 % of their tokens; nothing special."


def _expect_whole_words(picked, words) -> None:
    """Whole words, each of them as likely as any other."""
    special = words < 0
    n_special = int((picked & special).sum())
    expect_true(not n_special, f"{n_special} special tokens (word -1) are picked; want none.")
    rows, most = len(words), int(words.max()) + 1
    place = (torch.arange(rows)[:, None] * most + words)[~special]  # (ordinary tokens,)
    size = torch.bincount(place, minlength=rows * most)
    hit = torch.bincount(place[picked[~special]], minlength=rows * most)
    torn = int(((hit > 0) & (hit < size)).sum())
    if torn:
        share = float(picked.sum() / (~special).sum())
        raise NotYet(
            f"{torn} words are picked in part ({share:.1%} of the tokens are picked). Which draw "
            "do the tokens of one word have in common?"
        )
    chosen = (hit > 0).view(rows, most)
    there = size.view(rows, most) > 0
    same = [torch.equal(chosen[0] & there[n], chosen[n] & there[0]) for n in range(1, min(4, rows))]
    expect_true(
        not all(same),
        "Word 0 is picked in all rows or in none, word 1 too: words of different rows with the "
        "same number are different words.",
    )
    by_length = [float((hit[size == n] > 0).float().mean()) for n in (1, 4)]
    long_words = "words of 4 tokens are picked {:.1%} of the time, words of 1 token {:.1%}: "
    expect_true(
        by_length[1] - by_length[0] < 0.06,
        long_words.format(by_length[1], by_length[0])
        + "a word should not have a draw for each of its tokens.",
    )
    expect_true(
        by_length[0] - by_length[1] < 0.06,
        long_words.format(by_length[1], by_length[0])
        + "a word should not need all of its tokens to be drawn.",
    )
    _expect_share((hit > 0).sum() / (size > 0).sum(), 0.15, 0.005, "words picked")


def _expect_fates(now, before) -> None:
    """What became of the picked tokens: 80 % the mask, 10 % another token, 10 % as they were."""
    masked, same = now == IDS.mask_token_id, now == before
    drawn = now[~masked & ~same]
    unfit = int(torch.isin(drawn, torch.tensor(IDS.special_ids)).sum())
    expect_true(
        not unfit,
        f"{unfit} of {len(drawn)} random replacements are special tokens; want ordinary ones only.",
    )
    for share, want, what in (
        (masked, 0.8, "picked tokens turned into the mask"),
        # a random token is the old one in one case of the 36 ordinary tokens
        (same, 0.1 + 0.1 / 36, "picked tokens left"),
        (~masked & ~same, 0.1 - 0.1 / 36, "picked tokens replaced by another"),
    ):
        _expect_share(share.float().mean(), want, 0.011, what)
    expect_true(len(drawn.unique()) > 15, "The random replacements should be of many kinds.")


def _expect_own_fates(masked, picked, words) -> None:
    """The tokens of one word meet fates of their own: some are masked, others of them are not."""
    rows, most = len(words), int(words.max()) + 1
    place = torch.arange(rows)[:, None] * most + words
    size = torch.bincount(place[picked], minlength=rows * most)
    hidden = torch.bincount(place[masked], minlength=rows * most)
    long = size >= 4  # of such words six in ten have both
    mixed = ((hidden > 0) & (hidden < size))[long].float().mean()
    expect_true(
        float(mixed) > 0.3,
        "All tokens of a word meet the same fate. What becomes of a picked token is drawn for each "
        "token, as before.",
    )


def _expect_generator(mask_words, input_ids, words, answer) -> None:
    torch.manual_seed(1)  # the outer random state must not matter, only the generator's
    again = mask_words(input_ids, words, IDS, torch.Generator().manual_seed(1))
    equal = torch.equal(again[0], answer[0]) and torch.equal(again[1], answer[1])
    message = "The same seed gave another result: every random draw should use `generator`."
    expect_true(equal, message)
    other = mask_words(input_ids, words, IDS, torch.Generator().manual_seed(2))
    message = "Another seed gave the same result: draw from `generator`."
    expect_true(not torch.equal(other[1], answer[1]), message)


def _expect_share(share, want: float, tolerance: float, what: str) -> None:
    """The tolerance is four standard deviations and more at the sizes above."""
    message = f"{float(share):.1%} of {what}; want about {want:.0%}."
    expect_true(abs(float(share) - want) < tolerance, message)
