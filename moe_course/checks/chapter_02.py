"""Checks of the exercises of chapter 02."""

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import (
    NotYet,
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)
from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import MaskingIds


def _example(batch: int, sequence: int, vocab: int):
    """Random logits, and labels of which about a third are picked."""
    logits = 2 * torch.randn(batch, sequence, vocab)
    labels = torch.randint(0, vocab, (batch, sequence))
    labels[torch.rand(batch, sequence) < 0.65] = -100
    labels[0, 0] = 0  # token 0 is a token like any other
    return logits, labels


def check_masked_loss(masked_loss):
    for batch, sequence, vocab in ((2, 9, 5), (3, 4, 11)):
        logits, labels = _example(batch, sequence, vocab)
        flat, picked = logits.flatten(0, 1), labels.flatten() != -100
        right = F.cross_entropy(flat, labels.flatten(), ignore_index=-100)
        every = F.cross_entropy(flat, labels.flatten().clamp(min=0))
        rows = [
            F.cross_entropy(logits[i], labels[i], ignore_index=-100)
            for i in range(batch)
            if (labels[i] != -100).any()
        ]
        probabilities = logits.softmax(-1).flatten(0, 1)[picked, labels.flatten()[picked]]
        true, log_p = labels.flatten()[picked], flat[picked].log_softmax(-1)
        across = logits.log_softmax(1).flatten(0, 1)[picked, true]
        expect_close(
            masked_loss(logits, labels),
            right,
            f"the loss of a batch of {batch} rows",
            hints={
                "you divide by all positions: divide by the number of picked ones": right
                * picked.sum()
                / labels.numel(),
                "this is the sum over the picked positions: divide by their number": right
                * picked.sum(),
                "the positions that were not picked take part, as if -100 were token 0": every,
                "this is the mean of the rows' means: rows with fewer picked tokens count "
                "too much": sum(rows) / len(rows),
                "the sign is the other way round: a loss is minus a log-probability": -right,
                "this is minus the mean probability: where is the "
                "logarithm?": -probabilities.mean(),
                "`[:, true]` takes the true tokens of all rows in every row: take one "
                "column per row": -log_p[:, true].mean(),
                "your log_softmax runs over the sequence: probabilities sum to 1 over the "
                "vocabulary": -across.mean(),
                "your log_softmax runs over the picked positions: probabilities sum to 1 "
                "over the vocabulary": -flat[picked].log_softmax(0).gather(1, true[:, None]).mean(),
            },
        )
    logits, labels = _example(2, 3, 4)
    expect_close(
        masked_loss(logits * 200, labels),
        F.cross_entropy(logits.flatten(0, 1) * 200, labels.flatten()),
        "the loss for very large logits (log of a softmax that is 0?)",
    )
    return "Equal to torch's cross-entropy with ignore_index=-100."


def check_masked_gradient(masked_gradient):
    for batch, sequence, vocab in ((2, 9, 5), (3, 4, 11)):
        logits, labels = _example(batch, sequence, vocab)
        variable = logits.clone().requires_grad_()
        F.cross_entropy(variable.flatten(0, 1), labels.flatten(), ignore_index=-100).backward()
        right, picked = variable.grad, labels != -100
        count = int(picked.sum())
        everywhere = (logits.softmax(-1) - F.one_hot(labels.clamp(min=0), vocab)) / count
        expect_close(
            masked_gradient(logits, labels),
            right,
            f"the gradient, batch of {batch} rows",
            hints={
                "the mean divides the gradient too: divide by the number of picked positions": right
                * count,
                "you divide by all positions: divide by the number of picked ones": right
                * count
                / labels.numel(),
                "the rows that were not picked must be zero: they are not in the loss": everywhere,
                "softmax minus one-hot, not one-hot minus softmax": -right,
                "this is softmax alone: subtract 1 at the true token": logits.softmax(-1)
                * picked[..., None]
                / count,
            },
            atol=1e-6,
        )
    return "Equal to autograd's."


def check_corrupt(corrupt):
    ids = MaskingIds(
        mask_token_id=17, special_ids=(0, 5, 17, 39), vocab_size=40
    )  # special ids lie apart
    specials = torch.tensor(ids.special_ids)
    ordinary = torch.tensor([token for token in range(40) if token not in ids.special_ids])
    input_ids = ordinary[torch.randint(0, len(ordinary), (200, 60))]
    input_ids[:, ::7] = specials[torch.randint(0, 4, (200, 9))]
    attention_mask = torch.ones_like(input_ids)
    attention_mask[:, 50:] = 0  # padding: of the pad token in some rows, of ordinary ids in others
    input_ids[::2, 50:] = 0
    original = input_ids.clone()
    answer = corrupt(input_ids, attention_mask, ids, torch.Generator().manual_seed(1))
    expect_true(
        isinstance(answer, tuple) and len(answer) == 2,
        "corrupt should return two tensors: corrupted, labels.",
    )
    corrupted, labels = answer
    if torch.is_tensor(corrupted) and torch.is_tensor(labels):
        swapped = bool((corrupted == -100).any()) and not bool((labels == -100).any())
        expect_true(
            not swapped, "The two tensors are swapped: return corrupted first, then labels."
        )
    expect_equal(
        bool(torch.equal(input_ids, original)), True, "whether input_ids is left as it was"
    )
    for value, name in ((corrupted, "corrupted"), (labels, "labels")):
        expect_shape(value, tuple(input_ids.shape), name)
    picked, special = labels != -100, torch.isin(input_ids, specials)
    for wrong, what in (
        (picked & (attention_mask == 0), "padding positions (attention_mask 0) are picked"),
        (picked & special, "special tokens are picked"),
    ):
        expect_true(not wrong.any(), f"{int(wrong.sum())} {what}; want none.")
    expect_true(
        torch.equal(labels[picked], input_ids[picked]),
        "A label should be the token that stood there.",
    )
    expect_true(
        torch.equal(corrupted[~picked], input_ids[~picked]),
        "A token that was not picked should stay.",
    )
    _expect_share(
        picked.sum() / (~special & (attention_mask == 1)).sum(), 0.15, "ordinary tokens picked"
    )
    now, before = corrupted[picked], labels[picked]
    masked, same = now == ids.mask_token_id, now == before
    drawn = now[~masked & ~same]
    unfit = int(torch.isin(drawn, specials).sum())
    expect_true(
        not unfit,
        f"{unfit} of {len(drawn)} random replacements are special tokens; want ordinary ones only.",
    )
    for share, want, what in (
        (masked, 0.8, "picked tokens turned into the mask"),
        (same, 0.1, "picked tokens left"),
        (~masked & ~same, 0.1, "picked tokens replaced by another"),
    ):
        _expect_share(share.float().mean(), want, what)
    expect_true(len(drawn.unique()) > 15, "The random replacements should be of many kinds.")
    torch.manual_seed(1)  # the outer random state must not matter, only the generator's
    again = corrupt(input_ids, attention_mask, ids, torch.Generator().manual_seed(1))
    same_draws = torch.equal(again[0], corrupted) and torch.equal(again[1], labels)
    expect_true(
        same_draws, "The same seed gave another result: every random draw should use `generator`."
    )
    other = corrupt(input_ids, attention_mask, ids, torch.Generator().manual_seed(2))
    expect_true(
        not torch.equal(other[1], labels),
        "Another seed gave the same result: draw from `generator`.",
    )
    return "15 % of ordinary tokens; 80, 10 and 10 % of those; nothing special, no padding."


def _expect_share(share, want: float, what: str) -> None:
    """Within 0.03: more than three standard deviations at the sizes above, where a wrong recipe is
    further off."""
    expect_true(
        abs(float(share) - want) < 0.03, f"{float(share):.1%} of {what}; want about {want:.0%}."
    )


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
    for sizes in (((4, 6, 3), (2, 6, 9), (1, 6, 1)), ((3, 5, 15), (5, 5, 2))):
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
            },
            atol=1e-4,
        )
    return "Every hidden token counts the same, whatever batch it is in."


CHECKS = {
    "02.1": check_masked_loss,
    "02.2": check_masked_gradient,
    "02.3": check_corrupt,
    "02.4": check_heldout_loss,
}
