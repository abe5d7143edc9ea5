"""Wrong answers to the exercises of chapter 07: each is refused, with the hint that fits it."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from moe_course import check


def lost(logits, numbers):
    return F.cross_entropy(logits, numbers, reduction="none") / math.log(2)


def bits_held(logits, numbers):
    facts, values = logits.shape
    return facts * math.log2(values) - lost(logits, numbers).sum()


def in_place(logits, numbers):
    logits -= logits.logsumexp(1, keepdim=True)
    return bits_held(logits, numbers)


def guess(logits):
    return math.log2(logits.shape[1])


BITS = {
    "nats": (lambda x, n: bits_held(x, n) * math.log(2), "to the base e"),
    "bits and nats": (
        lambda x, n: len(n) * guess(x) - F.cross_entropy(x, n, reduction="sum"),
        "bring both to one unit",
    ),
    "per fact": (lambda x, n: bits_held(x, n) / len(n), "that is per fact"),
    "the loss": (lambda x, n: lost(x, n).sum(), "what the model still lacks"),
    "the mean loss": (lambda x, n: lost(x, n).mean(), "one fact lacks on average"),
    "the other sign": (lambda x, n: -bits_held(x, n), "other way round"),
    "recall": (lambda x, n: (x.argmax(1) == n).sum() * guess(x), "A model can be half sure"),
    "number of facts": (lambda x, n: (x.argmax(1) == n).sum().float(), "facts, not bits"),
    "clipped": (lambda x, n: (guess(x) - lost(x, n)).clamp(min=0).sum(), "are left out"),
    "likeliest": (
        lambda x, n: (guess(x) + x.log_softmax(1).amax(1) / math.log(2)).sum(),
        "likeliest number was taken",
    ),
    "over facts": (
        lambda x, n: len(n) * guess(x) + (x.log_softmax(0)[range(len(n)), n]).sum() / math.log(2),
        "softmax runs over the facts",
    ),
    "log of the facts": (
        lambda x, n: len(n) * math.log2(len(n)) - lost(x, n).sum(),
        "how many numbers are possible",
    ),
    "one guess": (lambda x, n: guess(x) - lost(x, n).sum(), "counted once"),
    "a value per fact": (lambda x, n: guess(x) - lost(x, n), r"shape \(6,\); want \(\)"),
    "changes the logits": (in_place, "changes the logits"),
}


def split(gate_up, down, m):
    gate, up = gate_up.chunk(2)
    pairs = [torch.cat(pair) for pair in zip(gate.chunk(m), up.chunk(m), strict=True)]
    return torch.stack(pairs), torch.stack(down.chunk(m, dim=1))


def split_in_place(gate_up, down, m):
    result = split(gate_up, down, m)
    gate_up.zero_()
    return result


def swapped(gate_up, down, m):
    return split(torch.cat(gate_up.chunk(2)[::-1]), down, m)


def first_only(gate_up, down, m):
    return tuple(part[:1].repeat(m, 1, 1) for part in split(gate_up, down, m))


def every_mth(gate_up, down, m):
    gate, up = gate_up.chunk(2)
    return torch.stack([torch.cat([gate[i::m], up[i::m]]) for i in range(m)]), split(
        gate_up, down, m
    )[1]


SPLIT = {
    "rows in order": (
        lambda g, d, m: (torch.stack(g.chunk(m)), split(g, d, m)[1]),
        "gate_up is two matrices",
    ),
    "down by rows": (
        lambda g, d, m: (split(g, d, m)[0], d.reshape(m, d.shape[0], -1)),
        "down should be cut along its columns",
    ),
    "down in blocks of rows": (
        lambda g, d, m: (split(g, d, m)[0], torch.stack(d.T.chunk(m))),
        r"down has shape .*want .*transpose",
    ),
    "gate_up mixed": (every_mth, "check which rows of gate_up go together"),
    "divided": (
        lambda g, d, m: (split(g, d, m)[0], split(g, d, m)[1] / m),
        "divided by m",
    ),
    "up on top": (swapped, "changed places"),
    "the first slice": (first_only, "all slices are the first one"),
    "a list of slices": (
        lambda g, d, m: (list(split(g, d, m)[0]), split(g, d, m)[1]),
        "a list; want a torch.Tensor",
    ),
    "gate only": (
        lambda g, d, m: (torch.stack(g.chunk(2)[0].chunk(m)), split(g, d, m)[1]),
        r"gate_up has shape",
    ),
    "gate_up alone": (lambda g, d, m: split(g, d, m)[0][:, 0], "return two tensors"),
    "changes what it got": (split_in_place, "changed gate_up itself"),
}


def sizes(routed, chosen, shared, width):
    return dict(
        n_routed_experts=routed,
        num_experts_per_tok=chosen,
        n_shared_experts=shared,
        moe_intermediate_size=width,
    )


DESIGN = {
    "shared on top": (lambda N, K, w, m, s: sizes(m * N, m * K, s, w // m), "come on top"),
    "chosen only": (lambda N, K, w, m, s: sizes(m * N, m * K - s, s, w // m), "no longer routed"),
    "routed only": (lambda N, K, w, m, s: sizes(m * N - s, m * K, s, w // m), "run for every"),
    "width kept": (lambda N, K, w, m, s: sizes(m * N - s, m * K - s, s, w), "m times as large"),
    "number kept": (lambda N, K, w, m, s: sizes(N - s, K - s, s, w // m), "there are m times"),
    "chosen kept": (lambda N, K, w, m, s: sizes(m * N - s, K - s, s, w // m), "m times less"),
    "a float": (lambda N, K, w, m, s: sizes(m * N - s, m * K - s, s, w / m), "divide with //"),
    "a field missing": (
        lambda N, K, w, m, s: dict(n_routed_experts=m * N - s),
        "has no moe_intermediate_size, n_shared_experts, num_experts_per_tok",
    ),
    "a tuple": (lambda N, K, w, m, s: (m * N - s, m * K - s, s, w // m), "a tuple; want a dict"),
    "whole experts shared": (
        lambda N, K, w, m, s: sizes(m * (N - s), m * (K - s), m * s, w // m),
        "shared experts are slices",
    ),
}


def favourites_off(logits, k, n):
    left = logits.scatter(1, logits.topk(n, dim=-1).indices, -torch.inf)
    weights, experts = left.softmax(-1).topk(k, dim=-1)
    return experts, weights


def same_for_all(logits, k, n):
    off = logits.mean(0).topk(n).indices
    weights, experts = logits.index_fill(1, off, -torch.inf).softmax(-1).topk(k)
    return experts, weights


def zeros(logits, k, n):
    left = logits.scatter(1, logits.topk(n, dim=-1).indices, 0.0)
    weights, experts = left.softmax(-1).topk(k, dim=-1)
    return experts, weights


def softmax_first(logits, k, n):
    weights, experts = logits.softmax(-1).topk(k + n, dim=-1)
    return experts[:, n:], weights[:, n:]


def with_raw_logits(logits, k, n):
    values, experts = logits.topk(k + n, dim=-1)
    return experts[:, n:], values[:, n:]


def renormalised(logits, k, n):
    experts, weights = favourites_off(logits, k, n)
    return experts, weights / weights.sum(1, keepdim=True)


def over_the_chosen(logits, k, n):
    values, experts = logits.topk(k + n, dim=-1)
    return experts[:, n:], values[:, n:].softmax(-1)


def weakest_off(logits, k, n):
    left = logits.scatter(1, (-logits).topk(n, dim=-1).indices, -torch.inf)
    weights, experts = left.softmax(-1).topk(k, dim=-1)
    return experts, weights


def changed(logits, k, n):
    return favourites_off(logits.scatter_(1, logits.topk(n).indices, -torch.inf), k, 0)


FAVOURITES = {
    "nothing off": (
        lambda x, k, n: favourites_off(x, k, 0),
        "the strongest k, the ones that should be off",
    ),
    "the same for all": (same_for_all, "each has its own favourites"),
    "zeros": (zeros, "which value never wins"),
    "softmax first": (softmax_first, "still counts the experts that are off"),
    "logits": (with_raw_logits, "logits, not softmax scores"),
    "over their sum": (renormalised, "divided by the sum of the chosen"),
    "softmax of the chosen": (over_the_chosen, "divided by the sum of the chosen"),
    "weakest off": (weakest_off, "the strongest k"),
    "worst first": (
        lambda x, k, n: tuple(part.flip(1) for part in favourites_off(x, k, n)),
        "want the best of those left first",
    ),
    "weights first": (lambda x, k, n: favourites_off(x, k, n)[::-1], "want experts, then weights"),
    "experts only": (lambda x, k, n: favourites_off(x, k, n)[0], "return experts and weights"),
    "changes the logits": (changed, "changes the logits"),
}


def routed(x, centroids, config):
    scores = (x @ centroids.T).softmax(-1)
    weights, experts = scores.topk(config["num_experts_per_tok"], dim=-1)
    return experts, weights, scores


def gate(switch, scaled=lambda weights, factor: weights * factor, dim=-1):
    def answer(x, centroids, config):
        experts, weights, _ = routed(x, centroids, config)
        if switch(config):
            weights = weights / weights.sum(dim, keepdim=True)
        return experts, scaled(weights, config["routed_scaling_factor"])

    return answer


def scaled_first(x, centroids, config):
    experts, weights, _ = routed(x, centroids, config)
    weights = weights * config["routed_scaling_factor"]
    if config["norm_topk_prob"]:
        weights = weights / weights.sum(-1, keepdim=True)
    return experts, weights


def over_all(x, centroids, config):
    experts, weights, scores = routed(x, centroids, config)
    if config["norm_topk_prob"]:
        weights = weights / scores.sum(-1, keepdim=True)
    return experts, weights * config["routed_scaling_factor"]


GATE = {
    "as broken": (
        gate(lambda config: config.get("normalize_topk_prob", False)),
        "The config says True: who reads it",
    ),
    "a default of False": (
        gate(lambda config: config.get("norm_topk_prob", False)),
        "without norm_topk_prob still passes",
    ),
    "a default of True": (
        gate(lambda config: config.get("norm_topk_prob", True)),
        "without norm_topk_prob still passes",
    ),
    "always": (gate(lambda config: True), "This config says False"),
    "never": (gate(lambda config: False), "The config says True"),
    "turned round": (gate(lambda config: not config["norm_topk_prob"]), "This config says False"),
    "asks for the name only": (gate(lambda config: "norm_topk_prob" in config), "says False"),
    "no factor": (gate(lambda c: c["norm_topk_prob"], lambda w, f: w), "the factor is lost"),
    "factor before the sum": (scaled_first, "the factor is lost: normalise first"),
    "divided by all scores": (over_all, "The config says True"),
    "sum over tokens": (gate(lambda config: config["norm_topk_prob"], dim=0), "over the tokens"),
}

ANSWERS = {"07.1": BITS, "07.2": SPLIT, "07.3": DESIGN, "07.4": FAVOURITES, "07.5": GATE}
RIGHT = {
    "07.1": bits_held,
    "07.2": split,
    "07.3": lambda N, K, w, m, s: sizes(m * N - s, m * K - s, s, w // m),
    "07.4": favourites_off,
    "07.5": gate(lambda config: config["norm_topk_prob"]),
}


@pytest.mark.parametrize(
    ("exercise", "name"), [(number, name) for number, wrong in ANSWERS.items() for name in wrong]
)
def test_a_wrong_answer_gets_the_hint_that_fits(exercise, name):
    answer, words = ANSWERS[exercise][name]
    verdict = check(exercise, answer)
    assert verdict.status == "not yet" and re.search(words, verdict.message), verdict.message


@pytest.mark.parametrize("exercise", RIGHT)
def test_another_right_answer_passes(exercise):
    check(exercise, RIGHT[exercise]).assert_passed()


def test_slices_may_be_cut_anywhere():
    def combed(gate_up, down, m):
        gate, up = gate_up.chunk(2)
        pairs = [torch.cat([gate[i::m], up[i::m]]) for i in range(m)]
        return torch.stack(pairs), torch.stack([down[:, i::m] for i in range(m)])

    check("07.2", combed).assert_passed()
    check("07.1", lambda x, n: bits_held(x, n).item()).assert_passed()
