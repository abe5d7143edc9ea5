"""Checks of the exercises of chapter 07, DeepSeekMoE."""

import math

import torch
import torch.nn.functional as F

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


def check_bits(bits_held):
    for facts, values, sure in ((6, 8, 1.0), (40, 64, 4.0), (5, 2, 0.0)):
        numbers = torch.randint(values, (facts,))
        logits = torch.randn(facts, values) + sure * F.one_hot(numbers, values)
        given = logits.clone()
        answer = expect_answer(bits_held(given, numbers), "bits_held's answer")
        what = f"bits_held of {facts} facts with {values} possible numbers"
        expect_true(
            torch.equal(given, logits), f"{what}: your function changes the logits it was given."
        )
        lost = F.cross_entropy(logits, numbers, reduction="none") / math.log(2)  # (facts,) bits
        held = facts * math.log2(values) - lost.sum()
        if isinstance(answer, torch.Tensor) and answer.numel() == 1:
            answer = answer.reshape(())
        expect_close(answer, held, what, hints=_bits_hints(logits, numbers, lost, held))
    return "Bits held are those that a guess would need, less those that are still missing."


def _bits_hints(logits, numbers, lost, held):
    facts, values = logits.shape
    right = (logits.argmax(1) == numbers).sum()
    likeliest = -logits.log_softmax(1).amax(1).sum() / math.log(2)
    over_facts = -logits.log_softmax(0).gather(1, numbers[:, None]).sum() / math.log(2)
    guess = math.log2(values)
    return {
        "these are nats: the logarithm of the loss is to the base e. How many nats is a bit?": held
        * math.log(2),
        "the guess is counted in bits and the loss in nats: bring both to one unit": facts * guess
        - lost.sum() * math.log(2),
        "that is per fact; the model holds those of all facts": held / facts,
        "that is what the model still lacks. What would it lack if it knew nothing?": lost.sum(),
        "that is what one fact lacks on average. What would it lack if the model knew nothing, and "
        "how many facts are there?": lost.mean(),
        "the sign is the other way round: a model that knows holds more than none": -held,
        "known facts are counted as whole ones and the others as nothing. A model can be half "
        "sure: use the probability of the right number": right * guess,
        "that counts facts, not bits": right.double(),
        "facts on which the model is worse than a guess are left out. They count against it": (
            guess - lost
        )
        .clamp(min=0)
        .sum(),
        "the likeliest number was taken for the right one": facts * guess - likeliest,
        "the softmax runs over the facts; it is the numbers that compete": facts * guess
        - over_facts,
        "a guess costs log2 of how many numbers are possible, not of how many facts there "
        "are": facts * math.log2(facts) - lost.sum(),
        "the guess is counted once, the loss for every fact": guess - lost.sum(),
    }


def _swiglu(x, gate_up, down):
    gate, up = (x @ gate_up.T).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ down.T


def check_split(split_expert):
    for width, m, hidden in ((6, 3, 5), (8, 2, 4), (4, 1, 3)):
        gate_up, down = torch.randn(2 * width, hidden), torch.randn(hidden, width)
        before = gate_up.clone()
        answer = expect_answer(split_expert(gate_up, down, m), "split_expert's answer")
        what = f"split_expert of an expert of width {width} into {m}"
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            f"{what}: return two tensors, gate_up and down, of all slices.",
        )
        part = width // m
        expect_shape(answer[0], (m, 2 * part, hidden), f"{what}: gate_up")
        expect_shape(answer[1], (m, hidden, part), f"{what}: down")
        expect_true(
            torch.equal(gate_up, before),
            f"{what}: your function changed gate_up itself. Make new tensors.",
        )
        x = torch.randn(7, hidden)
        total = sum(_swiglu(x, *slices) for slices in zip(*answer, strict=True))
        expect_close(
            total,
            _swiglu(x, gate_up, down),
            f"{what}: the sum of the slices",
            hints=_split_hints(x, gate_up, down, m, answer),
        )
    return "The slices together are the whole expert, so what they add is the choice among them."


def _split_hints(x, gate_up, down, m, answer):
    pairs = zip(*(half.chunk(m) for half in gate_up.chunk(2)), strict=True)
    right_up, right_down = (
        torch.stack([torch.cat(pair) for pair in pairs]),
        torch.stack(down.chunk(m, dim=1)),
    )
    naive = zip(gate_up.view_as(right_up), right_down, strict=True)
    whole = _swiglu(x, gate_up, down)
    swapped = torch.cat(gate_up.chunk(2)[::-1])
    hints = {
        "your first slices hold rows of gate only, your last ones rows of up only: gate_up "
        "is two matrices, one "
        "on the other. Cut each of them": sum(_swiglu(x, *slices) for slices in naive),
        "it is the whole expert's divided by m. A slice keeps its weights as they are": whole / m
        if m > 1
        else math.nan,
        "gate and up have changed places: gate stands on top": _swiglu(x, swapped, down),
        "all slices are the first one": m * _swiglu(x, right_up[0], right_down[0])
        if m > 1
        else math.nan,
    }
    if torch.allclose(answer[0], right_up):
        hints["gate_up is right; down should be cut along its columns, its last dimension"] = (
            lambda total: True
        )
    if torch.allclose(answer[1], right_down):
        hints["down is right; check which rows of gate_up go together"] = lambda total: True
    return hints


def check_design(design):
    def sizes(routed, chosen, shared, width):
        return dict(
            n_routed_experts=routed,
            num_experts_per_tok=chosen,
            n_shared_experts=shared,
            moe_intermediate_size=width,
        )

    for N, K, width, m, shared in (
        (8, 2, 24, 3, 0),
        (16, 2, 16, 4, 1),
        (64, 6, 1408, 1, 2),
        (4, 3, 12, 2, 2),
    ):
        answer = expect_answer(design(N, K, width, m, shared), "design's answer")
        what = f"design({N}, {K}, {width}, {m}, {shared})"
        expect_true(isinstance(answer, dict), f"{what} is a {type(answer).__name__}; want a dict.")
        expected = sizes(m * N - shared, m * K - shared, shared, width // m)
        missing = sorted(set(expected) - set(answer))
        expect_true(not missing, f"{what} has no {', '.join(missing)}.")
        expect_true(
            not any(isinstance(value, float) for value in answer.values()),
            f"{what} holds a float: sizes are whole numbers, so divide with //.",
        )
        expect_equal(
            answer,
            expected,
            what,
            hints={
                "shared experts come on top here: the model has more experts than before, "
                "and runs more of them. Take them "
                "away from the routed ones and from the chosen ones": sizes(
                    m * N, m * K, shared, width // m
                ),
                "a shared expert is one that is no longer routed: fewer experts are left to "
                "choose from": sizes(m * N, m * K - shared, shared, width // m),
                "the shared experts run for every token: to keep the cost, fewer routed ones "
                "are chosen": sizes(m * N - shared, m * K, shared, width // m),
                "m times as many experts of the same width make the layer m times as large": sizes(
                    m * N - shared, m * K - shared, shared, width
                ),
                "shared experts are slices here: as many of them as asked for, not "
                "m times as many": sizes(m * (N - shared), m * (K - shared), m * shared, width // m)
                if shared
                else None,
                "the experts are cut, so there are m times as many; and as many more must "
                "be chosen": sizes(N - shared, K - shared, shared, width // m),
                "m times as many experts run, each m times narrower: K of them would cost m "
                "times less": sizes(m * N - shared, K - shared, shared, width // m),
            },
        )
    return "Equal parameters, equal work, other choices."


def check_strongest_off(route_without_strongest):
    logits = torch.randn(6, 7) * 2
    for k, n in ((2, 0), (2, 1), (3, 2), (1, 4)):
        given = logits.clone()
        answer = expect_answer(route_without_strongest(given, k, n), "the answer")
        what = f"With k = {k} and the strongest {n} off"
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            f"{what}: return experts and weights.",
        )
        experts, weights = answer
        expect_shape(experts, (6, k), f"{what}: experts")
        expect_shape(weights, (6, k), f"{what}: weights")
        expect_true(
            torch.equal(given, logits),
            f"{what}: your function changes the logits it was given. Copy them.",
        )
        ranking = logits.argsort(dim=-1, descending=True)
        left = logits.scatter(1, ranking[:, :n], -torch.inf)
        everywhere = logits.index_fill(1, logits.mean(0).topk(n).indices, -torch.inf)
        with_zeros = logits.scatter(1, ranking[:, :n], 0.0)
        right = ranking[:, n : n + k]
        expect_true(
            not experts.is_floating_point(),
            f"{what}: the first result holds no whole numbers; want experts, then weights.",
        )
        expect_equal(
            experts.tolist(),
            right.tolist(),
            f"{what}: the experts",
            hints={
                "these are the strongest k, the ones that should be off": ranking[:, :k].tolist(),
                "the same experts are off for all tokens; each has its own "
                "favourites": everywhere.topk(k).indices.tolist(),
                "a logit of 0 can still be among the best: which value "
                "never wins?": with_zeros.topk(k).indices.tolist(),
                "the right experts in another order: want the best of those left first": right.flip(
                    1
                ).tolist(),
            },
        )
        scores = logits.softmax(-1).gather(1, right)
        expect_close(
            weights,
            left.softmax(-1).gather(1, right),
            f"{what}: the weights",
            hints={
                "the softmax still counts the experts that are off. Take it after they "
                "are gone": scores,
                "they are divided by the sum of the chosen. Here the rest, chosen or not, "
                "shares the 1": scores / scores.sum(1, keepdim=True),
                "these are logits, not softmax scores": logits.gather(1, right),
            },
        )
    return "Each token loses its own favourites and takes the next best."


def check_gate_config(gate):
    x, centroids = torch.randn(5, 6), torch.randn(8, 6)
    scores = (x @ centroids.T).softmax(-1)
    for norm, k, factor in ((False, 3, 16.0), (True, 2, 1.0), (True, 4, 2.5)):
        config = {"num_experts_per_tok": k, "norm_topk_prob": norm, "routed_scaling_factor": factor}
        answer = expect_answer(gate(x, centroids, dict(config)), "gate's answer")
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            "gate: return experts and weights.",
        )
        experts, weights = answer
        raw, best = scores.topk(k, dim=-1)
        normed = raw / raw.sum(-1, keepdim=True)
        what = f"With norm_topk_prob {norm} and routed_scaling_factor {factor:g}"
        expect_equal(experts.tolist(), best.tolist(), f"{what}: the experts")
        expect_close(
            weights,
            (normed if norm else raw) * factor,
            f"{what}: the weights",
            hints={
                "those of norm_topk_prob False. The config says True: who reads it?": raw * factor
                if norm
                else 0,
                "those of norm_topk_prob True. This config says False": 0
                if norm
                else normed * factor,
                "they are divided by sums over the tokens; the gates of one token should "
                "sum to 1": raw / raw.sum(0, keepdim=True) * factor if norm else 0,
                "the factor is lost: normalise first, then multiply": normed if norm else raw,
            },
        )
    _expect_refusal(gate, x, centroids)
    return "The switch works, and a config without it is refused."


def _expect_refusal(gate, x, centroids):
    try:
        gate(x, centroids, {"num_experts_per_tok": 2, "routed_scaling_factor": 1.0})
    except (KeyError, ValueError):
        return
    expect_true(
        False,
        "The weights are right. But a config without norm_topk_prob still passes without a word: "
        "published models differ in this switch, so no default is safe. Let it raise a KeyError.",
    )


CHECKS = {
    "07.1": check_bits,
    "07.2": check_split,
    "07.3": check_design,
    "07.4": check_strongest_off,
    "07.5": check_gate_config,
}
