"""Checks of the exercises of chapter 11, reading the router."""

import math

import torch

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


def _table(experts, real, domain_of, n_domains, n_experts):
    """N_iD (domains, experts) and N_D (domains, 1), counted one by one."""
    counts, tokens = torch.zeros(n_domains, n_experts), torch.zeros(n_domains, 1)
    for text, domain in enumerate(domain_of.tolist()):
        for place in real[text].nonzero().flatten().tolist():
            tokens[domain] += 1
            for expert in experts[text, place].tolist():
                counts[domain, expert] += 1
    return counts, tokens


def check_specialisation(specialisation):
    generator = torch.Generator().manual_seed(0)
    for texts, length, k, n_domains, n_experts in (
        (6, 7, 2, 2, 5),
        (8, 5, 3, 4, 6),
        (3, 9, 1, 3, 4),
    ):
        drawn = torch.rand(
            texts, length, n_experts - 1, generator=generator
        )  # the last expert is never chosen
        experts = drawn.argsort(-1)[..., :k]
        ends = torch.randint(2, length, (texts,), generator=generator)
        real = torch.arange(length) < ends[:, None]
        domain_of = torch.arange(texts) % n_domains
        answer = specialisation(
            experts.clone(), real.clone(), domain_of.clone(), n_domains, n_experts
        )
        what = f"The table of {n_domains} domains and {n_experts} experts, k = {k}"
        expect_shape(answer, (n_domains, n_experts), what)
        counts, tokens = _table(experts, real, domain_of, n_domains, n_experts)
        everywhere = torch.ones_like(real)
        padded, padded_tokens = _table(experts, everywhere, domain_of, n_domains, n_experts)
        first, _ = _table(experts[..., :1], real, domain_of, n_domains, n_experts)
        used = counts.sum(0, keepdim=True).clamp(min=1)
        expect_close(
            answer,
            counts / tokens,
            what,
            hints={
                "padding is counted, above and below: `real` says which tokens to leave out": padded
                / padded_tokens,
                "padding is counted as tokens, though its choices are not. Divide by the "
                "real tokens of the domain": counts / padded_tokens,
                "the choices of padding are counted. Only where `real` is True": padded / tokens,
                "each expert's column sums to 1: you divided by how often the expert is "
                "used. That tells "
                "where an expert's tokens come from, and a large domain wins it by its size": counts
                / used,
                "each row sums to 1: you divided by the number of choices. N_D counts "
                "tokens, so a row sums to k": counts / (k * tokens),
                "these are counts. Divide by the number of the domain's tokens": counts,
                "only the first choice of each token is counted. All k belong to it": first
                / tokens,
            },
        )
    return "The share of each domain's tokens; rows sum to k, and padding has no say."


def _entropy(labels):
    p = torch.bincount(labels).double() / len(labels)
    return -(p[p > 0] * p[p > 0].log2()).sum()


def check_mutual_information(mutual_information):
    coins = torch.randint(2, (400,))
    dice = torch.randint(6, (400,))
    cases = [
        ("b equal to a, four values", torch.arange(4).repeat(8), torch.arange(4).repeat(8)),
        ("independent labels", torch.arange(4).repeat(6), torch.arange(6).repeat_interleave(4)),
        ("b = a + a coin", dice, dice + coins),
        ("b with values that a never has", coins, 3 * coins + 7),
    ]
    for name, a, b in cases:
        expected = (
            _entropy(a) + _entropy(b) - _entropy(a * (int(b.max()) + 1) + b)
        )  # another road to the same number
        answer = mutual_information(a.clone(), b.clone())
        if isinstance(answer, torch.Tensor) and answer.numel() == 1:
            answer = answer.detach().float().reshape(())
        expect_true(
            not (torch.is_tensor(answer) and bool(answer.isnan().any())),
            f"the bits for {name}: the sum is not a number: 0 · log 0. Leave out the cells with "
            "p(a, b) = 0",
        )
        expect_close(
            answer,
            expected.float(),
            f"the bits for {name}",
            hints={
                "these are nats: use log2": expected * math.log(2),
                "the sign is the wrong way round": -expected,
                "this is the entropy of a": _entropy(a),
                "this is the entropy of the pair, without the division by p(a) p(b)": _entropy(
                    a * (int(b.max()) + 1) + b
                ),
                "counts must become shares: divide by n first": expected * len(a),
                "different pairs share one number: with m values of b, a · m + b needs m = "
                "b.max() + 1": (_entropy(a) + _entropy(b) - _entropy(a * int(b.max()) + b)),
            },
            atol=1e-4,
        )
    return "0 for independent labels, the entropy where one decides the other."


def check_overlap(overlap):
    generator = torch.Generator().manual_seed(1)
    for tokens, k, n_experts in ((40, 2, 5), (30, 3, 7), (20, 1, 4)):
        then, final = (
            torch.rand(tokens, n_experts, generator=generator).argsort(-1)[:, :k] for _ in range(2)
        )
        answer = expect_answer(overlap(then.clone(), final.clone()), "overlap's answer")
        common = torch.tensor(
            [len(set(a) & set(b)) for a, b in zip(then.tolist(), final.tolist(), strict=True)]
        ).float()
        what = f"overlap of {tokens} tokens, k = {k}"
        expect_close(
            answer,
            (common / k).mean(),
            what,
            hints={
                "you compare place by place. The first expert then may be the second in the "
                "end, and still counts": (then == final).float().mean(),
                "only tokens whose whole set is the same count. A token that kept one expert "
                "of two counts half": (common == k).float().mean(),
                "every token with one expert in common counts fully. A token that kept one "
                "of two counts half": (common > 0).float().mean(),
                "this is the number of experts in common. Divide by k": common.mean(),
                "sorting and comparing place by place misses a shared expert at another "
                "place. Compare each with each": (then.sort(-1).values == final.sort(-1).values)
                .float()
                .mean(),
                "this is intersection over union. The formula divides by k": (
                    common / (2 * k - common)
                ).mean(),
                "this is divided by k twice: a mean over the (tokens, k, k) table has k · k "
                "entries per token": (common / k / k).mean(),
            },
        )
    same = torch.rand(12, 6, generator=generator).argsort(-1)[:, :3]
    expect_close(
        expect_answer(overlap(same, same.flip(1)), "overlap's answer"),
        torch.tensor(1.0),
        "overlap of the same sets in another order",
    )
    return "Sets are compared, not lists; the final model has 1."


def check_chosen(chosen):
    generator = torch.Generator().manual_seed(2)
    for scoring, k in (("softmax", 2), ("sigmoid", 2), ("sigmoid", 3), ("softmax", 3)):
        logits = torch.randn(50, 6, generator=generator)
        plain = logits.softmax(-1) if scoring == "softmax" else logits.sigmoid()
        for name, bias in (("no bias", torch.zeros(6)), ("a bias", torch.linspace(-0.25, 0.25, 6))):
            given = logits.clone()
            answer = expect_answer(chosen(given, scoring, bias.clone(), k), "the answer")
            what = f"With {scoring}, k = {k} and {name}"
            expect_true(
                isinstance(answer, (tuple, list)) and len(answer) == 2,
                f"{what}: return experts and weights.",
            )
            experts, weights = answer
            expect_shape(experts, (50, k), f"{what}: experts")
            expect_shape(weights, (50, k), f"{what}: weights")
            expect_true(
                torch.equal(given, logits),
                f"{what}: your function changes the logits it was given.",
            )
            right = (plain + bias).topk(k).indices
            expect_equal(
                experts.tolist(),
                right.tolist(),
                f"{what}: the experts",
                hints={
                    "these are the experts of softmax plus bias. This model adds its bias to "
                    "sigmoid scores: softmax keeps "
                    "the order of the logits, but not the gaps that the bias must bridge": (
                        logits.softmax(-1) + bias
                    )
                    .topk(k)
                    .indices.tolist(),
                    "these are the experts without the bias. It takes part in "
                    "the choice": plain.topk(k).indices.tolist(),
                    "the bias is added to the logits. It belongs to the scores": (logits + bias)
                    .topk(k)
                    .indices.tolist(),
                },
            )
            own, biased = plain.gather(1, right), (plain + bias).gather(1, right)
            expect_close(
                weights,
                own / own.sum(1, keepdim=True),
                f"{what}: the weights",
                hints={
                    "the bias is in the weights. It changes the choice, never the weights": biased
                    / biased.sum(1, keepdim=True),
                    "these are not divided by the sum of the chosen": own,
                },
            )
    return "The model's own scores, the bias in the choice, and not in the weights."


CHECKS = {
    "11.1": check_specialisation,
    "11.2": check_mutual_information,
    "11.3": check_overlap,
    "11.4": check_chosen,
}
