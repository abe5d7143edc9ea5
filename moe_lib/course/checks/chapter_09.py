"""Checks of the exercises of chapter 09, DeepSeek-V2."""

import torch
import torch.nn.functional as F

from moe_lib.course.comparing import expect_answer, expect_close, expect_equal, expect_shape, expect_true

IGNORED = -100


def check_heldout_loss(heldout_loss):
    full = [torch.ones(16, 8, dtype=torch.int64) for _ in range(10)]
    _expect_loss(heldout_loss, [4.0] * 10, full, "10 batches of 16 rows, each with a loss of 4.0")
    uneven = [torch.ones(4, 6, dtype=torch.int64) for _ in range(3)]
    uneven[0][:, 1:] = IGNORED
    uneven[1][:, :3] = 0  # token id 0 is a target like any other
    uneven[2][:2] = IGNORED
    _expect_loss(heldout_loss, [6.0, 2.0, 3.0], uneven, "Batches with 4, 24 and 12 targets")
    smaller = [torch.ones(5, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64)]
    _expect_loss(heldout_loss, [1.0, 7.0], smaller, "A last batch with fewer rows")
    return "Every predicted token counts once, whichever batch it came in."


def _expect_loss(heldout_loss, losses, labels, what):
    answer = expect_answer(heldout_loss(list(losses), list(labels)), "heldout_loss's answer")
    counts = [int((batch != IGNORED).sum()) for batch in labels]
    rows, everything = [len(batch) for batch in labels], [batch.numel() for batch in labels]

    def weighted(weights):
        return sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)

    expect_close(answer, weighted(counts), what, hints={
        "a sum of means, divided by the number of rows: too small by about the rows in a batch":
            sum(losses) / sum(rows),
        "a sum of means, divided by the number of tokens: means and sums do not mix": sum(losses) / sum(counts),
        "the mean of the batches' means: right only if all have as many targets": sum(losses) / len(losses),
        "the batches are weighted by their rows: want the tokens that are predicted": weighted(rows),
        "the batches are weighted by all their tokens: those labelled -100 are not predicted": weighted(everything),
        "targets with token id 0 are left out; only -100 means no target":
            weighted([int((batch > 0).sum()) for batch in labels]),
        "the weighted sum is there; divide it by the number of targets":
            sum(loss * count for loss, count in zip(losses, counts, strict=True)),
    })  # fmt: skip


def check_from_dense(experts_from_dense):
    for width, hidden, experts, m, c in ((6, 4, 3, 1, 1.0), (6, 5, 6, 3, 2.0), (8, 4, 8, 4, 2.5), (4, 3, 4, 2, 16.0)):
        gate, up, down = torch.randn(width, hidden), torch.randn(width, hidden), torch.randn(hidden, width)
        given = gate.clone(), up.clone(), down.clone()
        answer = expect_answer(experts_from_dense(*given, experts, m, c), "the answer")
        what = f"experts_from_dense with E = {experts}, m = {m}, c = {c:g}"
        expect_true(isinstance(answer, (tuple, list)) and len(answer) == 2,
                    f"{what}: return two tensors, gate_up and down.")  # fmt: skip
        for name, before, after in zip(("gate", "up", "down"), (gate, up, down), given, strict=True):
            expect_true(
                torch.equal(before, after), f"{what}: your function changed `{name}` itself: make a new tensor."
            )
        part = width // m
        expect_shape(answer[0], (experts, 2 * part, hidden), f"{what}: gate_up")
        expect_shape(answer[1], (experts, hidden, part), f"{what}: down")
        turn = [e % m for e in range(experts)]
        gates, ups, downs = gate.chunk(m), up.chunk(m), torch.stack(down.chunk(m, dim=1))
        blocks = [e * m // experts for e in range(experts)]
        expect_close(answer[0], torch.stack([torch.cat((gates[t], ups[t])) for t in turn]), f"{what}: gate_up", hints={
            "up stands on top of gate": torch.stack([torch.cat((ups[t], gates[t])) for t in turn]),
            "the first experts all hold slice 0: want the slices in turn, e mod m":
                torch.stack([torch.cat((gates[t], ups[t])) for t in blocks]),
            "gate and up carry a factor; only down should": torch.stack([torch.cat((gates[t], ups[t])) for t in turn])
            * m / c,
        })  # fmt: skip
        raw = downs[turn]
        expect_close(answer[1], raw * m / c, f"{what}: down", hints={
            "the slices are right, the factor m / c is missing": raw if m != c else 0 * raw + torch.nan,
            "the weights sum to c, so each slice gets c / m: divide by c, too": raw * m,
            "m slices share the weight: multiply by m, too": raw / c,
            "the factor is upside down": raw * c / m,
        })  # fmt: skip
        x = torch.randn(7, hidden)
        _expect_same_function(answer, x, gate, up, down, m, c, what)
    return "Chosen equally, the slices compute what the dense layer did."


def _expect_same_function(answer, x, gate, up, down, m, c, what):
    total = 0
    for gate_up, own_down in list(zip(*answer, strict=True))[:m]:  # the first m experts hold every slice once
        own_gate, own_up = gate_up.chunk(2)
        total = total + c / m * ((F.silu(x @ own_gate.T) * (x @ own_up.T)) @ own_down.T)
    expect_close(total, (F.silu(x @ gate.T) * (x @ up.T)) @ down.T, f"{what}: the output of all slices together")


def check_rebuild(rebuild):
    for tokens, experts, k, factor, spread in ((6, 8, 2, 1.0, 0.0), (40, 8, 3, 2.5, 0.6), (30, 16, 2, 2.5, 1.0)):
        logits, bias = torch.randn(tokens, experts), spread * torch.randn(experts)
        answer = expect_answer(rebuild(logits, bias, k, factor), "rebuild's answer")
        expect_true(isinstance(answer, (tuple, list)) and len(answer) == 2, "rebuild: return experts and weights.")
        what = "Without a bias" if spread == 0 else f"With biases of about {spread:g}"
        _expect_choice(*answer, logits, bias, k, factor, what)
    return "Chosen by score and bias, weighted by the score alone."


def _expect_choice(experts, weights, logits, bias, k, factor, what):
    scores = logits.sigmoid()
    right = (scores + bias).topk(k).indices
    expect_shape(experts, tuple(right.shape), f"{what}: experts")
    expect_true(not experts.is_floating_point(), f"{what}: the first result holds no whole numbers: experts, weights.")
    expect_equal(experts.tolist(), right.tolist(), f"{what}: the experts", hints={
        "the bias takes no part in the choice": logits.topk(k).indices.tolist(),
        "the bias was added to the logits: add it to the scores": (logits + bias).topk(k).indices.tolist(),
        "the bias was added to softmax scores: this router uses the sigmoid":
            (logits.softmax(-1) + bias).topk(k).indices.tolist(),
        "the bias was taken away: add it": (scores - bias).topk(k).indices.tolist(),
    })  # fmt: skip
    chosen, biased = scores.gather(1, right), (scores + bias).gather(1, right)
    soft = logits.softmax(-1).gather(1, right)
    expect_close(weights, chosen / chosen.sum(-1, keepdim=True) * factor, f"{what}: the weights", hints={
        "the experts are right; their weights come from softmax scores, not from sigmoid scores":
            soft / soft.sum(-1, keepdim=True) * factor,
        "the bias got into the weights: it may change who is chosen, never how much":
            biased / biased.sum(-1, keepdim=True) * factor,
        "they are not divided by their sum": chosen * factor,
        "the factor is lost": chosen / chosen.sum(-1, keepdim=True),
        "they are divided by the sum of all scores: want the sum of the chosen":
            chosen / scores.sum(-1, keepdim=True) * factor,
    })  # fmt: skip


CHECKS = {"09.1": check_heldout_loss, "09.2": check_from_dense, "09.3": check_rebuild}
