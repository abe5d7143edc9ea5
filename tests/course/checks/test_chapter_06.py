"""Wrong answers to the exercises of chapter 06: each is refused, with the hint that fits it."""

import torch

from moe_course.checks.chapter_06 import CHECKS
from moe_course.checks.exercises import run_check
from moe_course.checks.verdicts import NOT_ATTEMPTED
from tests.course.checks.wrong_answers import cases, refused


def shares(experts, n_experts):
    return torch.bincount(experts.flatten(), minlength=n_experts) * n_experts / experts.numel()


def one(scores, experts):
    return (shares(experts, scores.shape[1]) * scores.mean(0)).sum()


def balance_loss(scores, experts, n, loss=one, join=lambda losses: losses.mean()):
    parts = zip(scores.chunk(n), experts.chunk(n), strict=True)
    return join(torch.stack([loss(*part) for part in parts]))


def again(scores, experts, k=None):
    return one(scores, scores.topk(experts.shape[1], dim=-1).indices)


def interleaved(scores, experts, n):
    parts = [one(scores[place::n], experts[place::n]) for place in range(n)]
    return torch.stack(parts).mean()


LOSS = {
    "chooses again": (lambda s, e, n: balance_loss(s, e, n, again), "chosen again"),
    "not divided by k": (lambda s, e, n: balance_loss(s, e, n) * e.shape[1], "k times too large"),
    "no E": (lambda s, e, n: balance_loss(s, e, n) / s.shape[1], "E is missing"),
    "pooled": (lambda s, e, n: one(s, e), "cut into sequences"),
    "sum of sequences": (
        lambda s, e, n: balance_loss(s, e, n, join=torch.sum),
        "sum over the sequences",
    ),
    "every n-th token": (interleaved, "every n-th token"),
    "first choice": (lambda s, e, n: balance_loss(s, e[:, :1], n), "only the first choice"),
    "P summed": (
        lambda s, e, n: balance_loss(s, e, n, lambda s, e: one(s, e) * len(s)),
        "P is a sum over the tokens",
    ),
    "f f": (
        lambda s, e, n: shares(e, s.shape[1]).square().mean() + 0 * s.sum(),
        "this is f times f",
    ),
    "P P": (lambda s, e, n: s.shape[1] * s.mean(0).square().sum(), "this is P times P"),
    "item": (lambda s, e, n: balance_loss(s, e, n).item(), "Python number.*\\.item\\(\\)"),
    "detached": (lambda s, e, n: balance_loss(s.detach(), e, n), "no gradient reaches"),
    "a loss per sequence": (
        lambda s, e, n: balance_loss(s, e, n, join=lambda losses: losses),
        r"shape \(1,\); want \(\)",
    ),
}


def layers(scores, experts, loss=one, join=lambda losses: losses.mean()):
    return join(torch.stack([loss(s, e) for s, e in zip(scores, experts, strict=True)]))


def pooled(scores, experts):
    return one(torch.cat(scores), torch.cat(experts))


MODEL = {
    "the broken code": (lambda s, e: pooled(s, e) * e[0].shape[1], "it is k: one choice"),
    "pooled, divided by k": (pooled, "still pooled"),
    "counts pooled": (
        lambda s, e: (shares(torch.cat(e), s[0].shape[1]) * torch.stack(s).mean((0, 1))).sum(),
        "still pooled",
    ),
    "by layer, not divided by k": (
        lambda s, e: layers(s, e) * e[0].shape[1],
        "it is k: one choice",
    ),
    "sum of layers": (lambda s, e: layers(s, e, join=torch.sum), "mean of the layers, not the sum"),
    "worst layer": (lambda s, e: layers(s, e, join=torch.max), "worst layer"),
    "last layer": (lambda s, e: one(s[-1], e[-1]), "last layer"),
    "first layer": (lambda s, e: one(s[0], e[0]), "first layer"),
    "chooses again": (lambda s, e: layers(s, e, again), "chosen again"),
    "first choice": (lambda s, e: layers(s, [one[:, :1] for one in e]), "only the first choice"),
    "item": (lambda s, e: layers(s, e).item(), "Python number.*\\.item\\(\\)"),
    "items added": (
        lambda s, e: sum(one(*pair).item() for pair in zip(s, e, strict=True)) / len(s),
        "Python number",
    ),
    "a new tensor of items": (
        lambda s, e: torch.tensor(layers(s, e).item()),
        "no gradient reaches",
    ),
    "gradient of the last layer only": (
        lambda s, e: layers([*(one.detach() for one in s[:-1]), s[-1]], e),
        "no gradient reaches",
    ),
}


def bias_step(scores, bias, k, speed, *, choose=None, weigh=None, move=None, order=None):
    experts = (scores + bias if choose is None else choose(scores, bias)).topk(k, dim=-1).indices
    if order:
        experts = order(experts)
    picked = (weigh or (lambda s, b: s))(scores, bias).gather(1, experts)
    weights = picked / picked.sum(-1, keepdim=True)
    load = torch.bincount(experts.flatten(), minlength=len(bias)).float()
    after = move(bias, load, speed, scores) if move else bias + speed * (load.mean() - load).sign()
    return experts, weights, after


def changed(**parts):
    return lambda scores, bias, k, speed: bias_step(scores, bias, k, speed, **parts)


def weights_by(weigh):
    def answer(scores, bias, k, speed):
        experts, _, after = bias_step(scores, bias, k, speed)
        return experts, weigh(scores.gather(1, experts)), after

    return answer


def in_place(scores, bias, k, speed):
    answer = bias_step(scores, bias, k, speed)
    bias.copy_(answer[2])
    return answer


def new_bias_chooses(scores, bias, k, speed):
    return (
        bias_step(scores, bias_step(scores, bias, k, speed)[2], k, speed)[0],
        *bias_step(scores, bias, k, speed)[1:],
    )


STEP = {
    "bias not in the choice": (changed(choose=lambda s, b: s), "scores alone"),
    "bias subtracted": (changed(choose=lambda s, b: s - b), "bias is subtracted"),
    "new bias chooses": (new_bias_chooses, "uses the new bias"),
    "in the weights": (changed(weigh=lambda s, b: s + b), "bias is in the weights"),
    "not normed": (weights_by(lambda picked: picked), "(do not sum to 1|sums)"),
    "softmax": (weights_by(lambda picked: picked.softmax(-1)), "softmax of the chosen"),
    "worst first": (changed(order=lambda e: e.flip(-1)), "another order"),
    "wrong way": (
        changed(move=lambda b, load, u, s: b - u * (load.mean() - load).sign()),
        "wrong way",
    ),
    "does not move": (changed(move=lambda b, load, u, s: b), "does not move"),
    "by the distance": (
        changed(move=lambda b, load, u, s: b + u * (load.mean() - load)),
        "only the sign",
    ),
    "move alone": (
        changed(move=lambda b, load, u, s: u * (load.mean() - load).sign()),
        "add it to the old bias",
    ),
    "mean load without k": (
        changed(move=lambda b, load, u, s: b + u * (len(s) / len(b) - load).sign()),
        "compared with T / E",
    ),
    "in place": (in_place, "in place"),
    "two things": (lambda *given: bias_step(*given)[:2], "Return three things"),
}


@cases(LOSS)
def test_wrong_balance_loss_is_refused_with_its_hint(answer, hint):
    refused("06.1", answer, hint)


@cases(MODEL)
def test_wrong_loss_of_a_model_is_refused_with_its_hint(answer, hint):
    refused("06.2", answer, hint)


@cases(STEP)
def test_wrong_bias_step_is_refused_with_its_hint(answer, hint):
    refused("06.3", answer, hint)


def one_hot_loss(scores, experts, n_sequences):
    tokens, n_experts = scores.shape
    chosen = torch.nn.functional.one_hot(experts, n_experts).float()  # (T, k, E)
    f = chosen.view(n_sequences, -1, n_experts).mean(1) * n_experts
    return (f * scores.view(n_sequences, -1, n_experts).mean(1)).sum(-1).mean()


def test_right_answers_of_several_styles_pass_and_no_answer_is_none():
    for exercise, answer in (
        ("06.1", balance_loss),
        ("06.1", one_hot_loss),
        ("06.2", layers),
        ("06.2", lambda s, e: sum(one_hot_loss(*p, 1) for p in zip(s, e, strict=True)) / len(s)),
        ("06.3", bias_step),
    ):
        torch.manual_seed(0)
        assert run_check(exercise, CHECKS[exercise], answer).passed, exercise
        nothing = run_check(exercise, CHECKS[exercise], lambda *arguments: None)
        assert nothing.status == NOT_ATTEMPTED
