"""Checks of the exercises of chapter 06, load balance."""

import torch

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


def _share_of_choices(experts, n_experts):
    return torch.bincount(experts.flatten(), minlength=n_experts).double() / experts.numel()


def _loss(scores, experts, n_sequences=1):
    """sum f_i P_i per sequence, then the mean: f from shares of the choices, so that k cannot be
    forgotten."""
    parts = zip(scores.double().chunk(n_sequences), experts.chunk(n_sequences), strict=True)
    n_experts = scores.shape[1]
    return (
        torch.stack(
            [(n_experts * _share_of_choices(e, n_experts) * s.mean(0)).sum() for s, e in parts]
        )
        .mean()
        .float()
    )


def _squared_shares(experts, n_experts):
    return (n_experts * _share_of_choices(experts, n_experts).square().sum()).float()


def _drawn(tokens, n_experts, k):
    """Scores that sum to 1, and choices that are not the k best of them: a bias or a limit may
    have had its say."""
    scores = (2 * torch.randn(tokens, n_experts)).softmax(-1)
    return scores, torch.rand(tokens, n_experts).topk(k, dim=-1).indices


def _expect_gradient(answer, scores, what):
    """Raise NotYet unless `answer` is a tensor through which a gradient reaches every score."""
    expect_true(
        not isinstance(answer, (int, float)),
        f"{what} is a Python number; want a tensor: its gradient is needed, and .item() cuts it "
        "off.",
    )
    reached = getattr(answer, "requires_grad", False)
    gradients = torch.autograd.grad(answer, scores, allow_unused=True) if reached else [None]
    expect_true(
        all(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients),
        f"{what}: the value is right, but no gradient reaches the scores. Without one the loss "
        "changes nothing.",
    )


def check_balance_loss(balance_loss):
    for tokens, n_experts, k, n_sequences in ((20, 5, 1, 1), (24, 6, 3, 1), (24, 4, 2, 4)):
        scores, experts = _drawn(tokens, n_experts, k)
        expected = _loss(scores, experts, n_sequences)
        what = (
            f"the loss of {tokens} tokens, {n_experts} experts, k = {k}, in {n_sequences} "
            "sequence(s)"
        )
        scores.requires_grad_()
        answer = balance_loss(scores, experts, n_sequences)
        plain, again = scores.detach(), scores.topk(k, dim=-1).indices
        mixed = torch.arange(tokens).view(-1, n_sequences).T.flatten()
        expect_close(
            answer,
            expected,
            what,
            hints={
                "the experts are chosen again, as the best scores. Count the choices that you are "
                "given: a bias may have made them": _loss(plain, again, n_sequences),
                "it is k times too large: there are k · T choices, so f divides by k as "
                "well as by T": expected * k,
                "E is missing in f: an even share must be f = 1": expected / n_experts,
                "this is the loss over all tokens together: cut into sequences first": _loss(
                    plain, experts
                ),
                "this is the sum over the sequences: take the mean": expected * n_sequences,
                "the sequences lie one after the other; this takes every n-th token": _loss(
                    plain[mixed], experts[mixed], n_sequences
                ),
                "only the first choice of each token is counted: there are k": _loss(
                    plain, experts[:, :1], n_sequences
                ),
                "P is a sum over the tokens; it should be their mean": expected
                * tokens
                / n_sequences,
                "this is f times f: P is the mean of the scores, not of "
                "the choices": _squared_shares(experts, n_experts),
                "this is P times P: f counts the choices, not the scores": n_experts
                * plain.mean(0).square().sum(),
            },
        )
        _expect_gradient(answer, [scores], what)
    return "Counted per sequence, divided by k, and its gradient reaches the scores."


def check_model_balance_loss(model_balance_loss):
    torch.manual_seed(1)
    uniform = torch.full((12, 4), 0.25)
    turns = torch.arange(12)[:, None]
    one, two = turns % 4, torch.cat([turns % 4, (turns + 1) % 4], 1)  # every expert equally often
    for experts, k in ((one, 1), (two, 2)):
        expect_close(
            model_balance_loss([uniform] * 3, [experts] * 3),
            1.0,
            f"an even model with k = {k}",
            hints={
                "it is k: one choice per token would give 1. How many choices does a "
                "layer count?": float(k),
                "it is 3: three even layers should give 1, so take the mean of the layers, "
                "not the sum": 3.0,
            }
            if k == 2
            else {"it is 3: take the mean of the layers, not the sum": 3.0},
        )
    collapsed = [torch.eye(4)[torch.full((12,), layer)] for layer in range(4)]
    expect_close(
        model_balance_loss(collapsed, [scores.argmax(1, keepdim=True) for scores in collapsed]),
        4.0,
        "four layers, each collapsed onto another expert",
        hints={
            "it says 1, balanced: the layers are still pooled, and together they look even": 1.0,
            "it is the sum over the layers: take their mean": 16.0,
        },
    )
    drawn = sorted((_drawn(10, 6, 2) for _ in range(3)), key=lambda pair: float(_loss(*pair)))
    drawn = [drawn[0], drawn[2], drawn[1]]  # the worst is neither the first nor the last
    scores, experts = [pair[0].requires_grad_() for pair in drawn], [pair[1] for pair in drawn]
    losses = torch.stack([_loss(s.detach(), e) for s, e in drawn])
    answer = model_balance_loss(scores, experts)
    expect_close(
        answer,
        losses.mean(),
        "three random layers",
        hints={
            "this is the loss of the worst layer; want the mean of all": losses.max(),
            "this is the loss of the last layer": losses[-1],
            "this is the loss of the first layer": losses[0],
            "the experts are chosen again, as the best scores. Count the choices that you are "
            "given": torch.stack(
                [_loss(s.detach(), s.topk(2, dim=-1).indices) for s in scores]
            ).mean(),
            "only the first choice of each token is counted: there are k": torch.stack(
                [_loss(s.detach(), e[:, :1]) for s, e in drawn]
            ).mean(),
        },
    )
    _expect_gradient(answer, scores, "The loss of three random layers")
    return "Each layer by itself, 1 at balance whatever k, and its gradient reaches every layer."


def check_bias_step(bias_step):
    scores = torch.tensor([[0.9, 0.5, 0.4], [0.8, 0.6, 0.1], [0.7, 0.2, 0.3], [0.5, 0.6, 0.55]])
    bias = torch.tensor([-0.35, 0.1, 0.0])
    _check_one_step(bias_step, scores, bias, 1, 0.01)
    for tokens, n_experts, k in ((40, 6, 2), (30, 5, 3)):
        _check_one_step(
            bias_step, torch.rand(tokens, n_experts), 0.5 * torch.randn(n_experts), k, 0.05
        )
    even = torch.eye(3) * 0.8 + 0.1
    _, _, after = bias_step(even, torch.zeros(3), 1, 0.1)
    expect_close(after, torch.zeros(3), "the next bias after an even load (nothing should move)")
    return "Chosen with the bias, weighed without it, and moved afterwards."


def _check_one_step(bias_step, scores, bias, k, speed):
    before, n_experts = bias.clone(), len(bias)
    answer = expect_answer(bias_step(scores, bias, k, speed), "your answer")
    three = isinstance(answer, tuple) and len(answer) == 3
    expect_true(three, "Return three things: the experts, the weights, and the next bias.")
    experts, weights, after = answer
    expect_true(torch.equal(bias, before), "You changed `bias` in place. Return a new one.")

    right = (scores + bias).topk(k, dim=-1).indices
    load = torch.bincount(right.flatten(), minlength=n_experts).double()
    sign = (load.mean() - load).sign().float()
    expect_shape(experts, (len(scores), k), "the experts")
    if not torch.equal(experts, right):
        plain = torch.equal(experts, scores.topk(k, dim=-1).indices)
        leaked = torch.equal(experts, (scores + bias + speed * sign).topk(k, dim=-1).indices)
        expect_true(
            not plain,
            "The experts are those of the scores alone: the bias should take part in the choice.",
        )
        expect_true(
            not leaked,
            "The choice uses the new bias. It is for the next batch: its load is not past yet.",
        )
        subtracted = torch.equal(experts, (scores - bias).topk(k, dim=-1).indices)
        expect_true(not subtracted, "The bias is subtracted: add it to the scores.")
        another_order = torch.equal(experts.sort(-1).values, right.sort(-1).values)
        expect_true(
            not another_order, "The right experts in another order: best first, by score + bias."
        )
    expect_equal(experts.tolist(), right.tolist(), "the list of chosen experts")

    picked, biased = scores.gather(1, right), (scores + bias).gather(1, right)
    share = picked / picked.sum(-1, keepdim=True)
    expect_close(
        weights,
        share,
        f"the weights with k = {k}",
        hints={
            "the bias is in the weights: it should change who is chosen, not how much "
            "they count": lambda w: (
                bool((share - biased / biased.sum(-1, keepdim=True)).abs().max() > 1e-4)
                and torch.allclose(w, biased / biased.sum(-1, keepdim=True), atol=1e-5)
            ),
            "the bias is in the weights, and they do not sum to 1": biased,
            "they do not sum to 1 for each token (sums {min} to {max} of single weights)": picked,
            "this is a softmax of the chosen scores: divide them by their sum": picked.softmax(-1),
        },
    )
    proportional = before + speed * (load.mean() - load).float()
    expect_close(
        after,
        before + speed * sign,
        "the next bias",
        hints={
            "it moves the wrong way: up for experts with too little load": before - speed * sign,
            "it does not move": before,
            "the load is compared with T / E: there are k · T choices, so the mean load is "
            "k · T / E": before + speed * (len(scores) / n_experts - load).sign().float(),
            "it moves by the load's distance from the mean: only the sign "
            "counts here": proportional,
            "this is the move alone: add it to the old bias": speed * sign,
        },
    )


CHECKS = {"06.1": check_balance_loss, "06.2": check_model_balance_loss, "06.3": check_bias_step}
