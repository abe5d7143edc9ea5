"""Wrong answers to the exercises of chapter 00: each is refused, with the hint that fits it."""

import torch

from moe_course import check
from tests.course.checks.wrong_answers import cases, refused


def share(experts, n_experts):
    counts = torch.bincount(experts.flatten(), minlength=n_experts)
    return counts / counts.sum()


def violations(experts, n_experts):
    """experts (layers, tokens, k) -> MaxVio of each layer, by counting with ==."""
    load = torch.stack([(experts == e).sum((1, 2)) for e in range(n_experts)], dim=1).float()
    return load.amax(1) / load.mean(1) - 1


def pooled(experts, n_experts):
    load = torch.bincount(experts.flatten(), minlength=n_experts).float()
    return (load.max() / load.mean() - 1).item()


def without_idle(experts, n_experts):
    loads = [torch.bincount(layer.flatten()).float() for layer in experts]
    return max((load[load > 0].max() / load[load > 0].mean() - 1).item() for load in loads)


def spread(experts, n_experts):
    load = torch.stack([torch.bincount(x.flatten(), minlength=n_experts) for x in experts]).float()
    return ((load.amax(1) - load.amin(1)).max() / load.mean()).item()


LOAD_SHARE = {
    "counts": (lambda x, n: torch.bincount(x.flatten(), minlength=n), "whole numbers.*divide"),
    "counts as float": (lambda x, n: share(x, n) * x.numel(), r"sums to 6: did you divide"),
    "whole-number division": (
        lambda x, n: torch.bincount(x.flatten(), minlength=n) // x.numel(),
        "whole numbers.*`/` or with `//`",
    ),
    "per token": (lambda x, n: share(x, n) * x.shape[-1], "number of tokens"),
    "per expert": (lambda x, n: share(x, n) * x.numel() / n, "number of experts"),
    "times an even split": (lambda x, n: share(x, n) * n, "multiples of an even split"),
    "first choices": (lambda x, n: share(x[:, 0], n), "only first choices"),
    "last choices": (lambda x, n: share(x[:, -1], n), "only last choices"),
    "no minlength": (lambda x, n: share(x, 0), "has 3 entries; want 5.*minlength"),
    "used experts only": (
        lambda x, n: x.unique(return_counts=True)[1] / x.numel(),
        "has 3 entries; want 5",
    ),
    "softmax": (lambda x, n: (share(x, n) * x.numel()).softmax(0), "softmax gives it more"),
    "always five": (lambda x, n: share(x, 5)[:5], r"shape \(5,\); want \(9,\)"),
    "a list": (lambda x, n: share(x, n).tolist(), "a list; want a torch.Tensor"),
    "per column": (
        lambda x, n: torch.nn.functional.one_hot(x, n).float().mean(0),
        r"shape \(2, 5\); want \(5,\)",
    ),
}

WORST = {
    "the broken code": (pooled, "added up before"),
    "loads added by a loop": (
        lambda x, n: pooled(torch.cat(list(x))[None], n),
        "added up before",
    ),
    "mean of the layers": (lambda x, n: violations(x, n).mean().item(), "mean over the layers"),
    "sum of the layers": (lambda x, n: violations(x, n).sum().item(), "sum over the layers"),
    "most even layer": (lambda x, n: violations(x, n).min().item(), "most even layer"),
    "last layer": (lambda x, n: violations(x, n)[-1].item(), "the last layer"),
    "first layer": (lambda x, n: violations(x, n)[0].item(), "most even layer"),
    "ratio": (lambda x, n: violations(x, n).max().item() + 1, "ratio to the mean load"),
    "share": (
        lambda x, n: max(share(layer, n).max().item() for layer in x),
        "share of the choices",
    ),
    "largest minus smallest": (spread, "from the largest to the smallest"),
    "first choices": (lambda x, n: violations(x[..., :1], n).max().item(), "only first choices"),
    "idle experts forgotten": (without_idle, "experts that nobody chose belong"),
    "a value per layer": (violations, "one number"),
    "number of the layer": (lambda x, n: violations(x, n).argmax().item(), "number of a layer"),
}


@cases(LOAD_SHARE)
def test_wrong_load_share_is_refused_with_its_hint(answer, hint):
    refused("00.1", answer, hint)


@cases(WORST)
def test_wrong_worst_violation_is_refused_with_its_hint(answer, hint):
    refused("00.2", answer, hint)


def test_right_answers_of_several_styles_pass():
    assert check("00.1", share).passed
    one_hot = torch.nn.functional.one_hot
    assert check("00.1", lambda x, n: one_hot(x, n).float().mean((0, 1))).passed
    assert check("00.2", lambda x, n: violations(x, n).max()).passed
    assert check("00.2", lambda x, n: max(violations(x, n).tolist())).passed
