"""Checks of the exercises of chapter 04, mixture of experts."""

import torch

from moe_course.checks.comparisons import (
    call_without_autograd,
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
)


def check_purity(purity):
    draw = torch.Generator().manual_seed(3)
    for tokens, rules, experts in ((60, 4, 8), (45, 3, 5)):
        rule = torch.randint(rules, (tokens,), generator=draw)
        expert = (rule + (torch.rand(tokens, generator=draw) < 0.4).long() * rule) % experts
        expert[: tokens // 3] = experts - 1  # a large expert that takes all rules; one gets none
        pairs = torch.zeros(experts, rules)
        pairs.index_put_((expert, rule), torch.ones(()), accumulate=True)
        of_expert, used = pairs.amax(1), pairs.sum(1) > 0
        shares = of_expert[used] / pairs.sum(1)[used]
        answer = expect_answer(purity(rule.clone(), expert.clone()), "your answer")
        expect_close(
            answer,
            of_expert.sum() / tokens,
            f"the purity of {tokens} tokens, {rules} rules and {experts} experts",
            hints={
                "this is the mean over the experts: an expert with three tokens counts as much as "
                "one with thirty. Count tokens": shares.mean(),
                "this is the mean over all expert numbers, also those that nobody chose": (
                    shares.sum() / experts
                ),
                "you ask for the most common expert of each rule. With two experts for each rule "
                "that is a half at best, though every expert is pure. Turn it round": (
                    pairs.amax(0).sum() / tokens
                ),
                "you count the tokens whose expert has the number of their rule. The numbers of "
                "experts mean nothing: 7 may have learned rule 0": (
                    (rule == expert).float().mean()
                ),
                "this is a number of tokens. Want a share of all tokens": of_expert.sum(),
                "you take the largest count of all. Every expert has a most common rule of its "
                "own": pairs.max() / tokens,
                "this is the share of the most common rule, whatever the experts do": (
                    pairs.sum(0).max() / tokens
                ),
                "you count the pairs (expert, rule) that occur. Want tokens": (
                    lambda value: float(value) > 1
                ),
            },
        )
    return (
        "1 means that no expert mixes rules; by lot it would be near the most common rule's share."
    )


def check_logit_gradient(logit_gradient):
    for experts, width in ((4, 6), (7, 3)):
        logits, outputs, grad_y = (
            torch.randn(experts),
            torch.randn(experts, width),
            torch.randn(width),
        )
        variable = logits.clone().requires_grad_()
        (variable.softmax(0) @ outputs @ grad_y).backward()
        weights, delta = logits.softmax(0), outputs @ grad_y
        expect_close(
            call_without_autograd(logit_gradient, logits, outputs, grad_y),
            variable.grad,
            f"the gradient of {experts} logits",
            hints={
                "this is the gradient of the weights a; the logits come before the softmax: "
                "one step further": delta,
                "you multiply by a, but do not subtract the mean of the deltas: raising one "
                "logit lowers all other weights": weights * delta,
                "the mean of the deltas must be weighted by a": weights * (delta - delta.mean()),
                "the factor a in front is missing": delta - weights @ delta,
                "this uses a (1 - a) for every expert alone: the other experts' deltas "
                "count too": weights * (1 - weights) * delta,
                "all zero: the logits have an effect, through every weight": torch.zeros(experts),
                "the softmax is missing: a = logits.softmax(0)": logits * (delta - logits @ delta),
                "the mean of the deltas is added; it must be subtracted": weights
                * (delta + weights @ delta),
                "the deltas are dot products of grad_y with each output; here the outputs "
                "are only summed": weights * (outputs.sum(1) - weights @ outputs.sum(1)),
            },
        )
    return "Equal to autograd. It sums to 0: what one expert gains, the others lose."


def _layer(tokens: int, n_experts: int, k: int, hidden: int):
    """x, chosen experts, weights, and experts that count the rows they are given."""
    x, matrices = torch.randn(tokens, hidden), torch.randn(n_experts, hidden, hidden)
    weights, experts = (
        (2 * torch.randn(tokens, n_experts - 1)).softmax(-1).topk(k)
    )  # the last expert gets no token
    rows = []

    def expert(matrix):
        def run(inputs):
            rows.append(len(inputs))
            return torch.tanh(inputs @ matrix)

        return run

    return x, experts, weights, matrices, [expert(matrix) for matrix in matrices], rows


def check_moe_loop(moe_loop):
    for tokens, n_experts, k in ((9, 4, 2), (20, 5, 3)):
        x, experts, weights, matrices, ffns, rows = _layer(tokens, n_experts, k, 6)
        every = torch.tanh(torch.einsum("td,edh->teh", x, matrices))  # (tokens, E, hidden)
        chosen = every.gather(1, experts[:, :, None].expand(-1, -1, 6))  # (tokens, k, hidden)
        right = (weights[:, :, None] * chosen).sum(1)
        last = weights[:, -1, None] * chosen[:, -1]
        answer = moe_loop(x.clone(), experts.clone(), weights.clone(), ffns)
        expect_close(
            answer,
            right,
            f"the output for {tokens} tokens, k = {k}",
            hints={
                "all zero: `index_add` returns a new tensor; write output = "
                "output.index_add(…)": torch.zeros_like(right),
                "the experts' outputs are added without their weights": chosen.sum(1),
                "the output begins as x. It begins at zero; adding x is the block's business": x
                + right,
                "only each token's first choice has arrived": weights[:, 0, None] * chosen[:, 0],
                "only each token's last choice has arrived: add to the output, do not "
                "overwrite it": last,
                "every pair has the weight of the token's first choice: which rank did this "
                "expert have?": (weights[:, :1, None] * chosen).sum(1),
                "the weights are applied before the expert; its SwiGLU is not linear: weigh "
                "its output": torch.tanh(
                    torch.einsum(
                        "tkd,tkdh->tkh", x[:, None] * weights[:, :, None], matrices[experts]
                    )
                ).sum(1),
                "an assignment overwrites what other experts wrote: `index_add`, or `+=` on "
                "the rows": (weights[:, :, None] * chosen)[torch.arange(tokens), experts.argmax(1)],
            },
            atol=1e-4,
        )
        expect_true(
            sum(rows) <= tokens * k,
            f"The output is right, but your experts ran on {sum(rows)} rows; {tokens} tokens "
            f"with {k} choices "
            f"make {tokens * k}. Give each expert one matrix (n, d): the tokens that chose it.",
        )
        expect_true(
            len(rows) <= n_experts,
            f"The output is right, but {n_experts} experts were called {len(rows)} times. Call "
            "each once, with all its tokens as one matrix (n, d): machines are fast at that.",
        )
    return "Right, and no expert saw a token that did not choose it."


def check_top1_layer(top1_layer):
    torch.manual_seed(1)
    x, router, matrices = torch.randn(40, 6), torch.randn(4, 6), torch.randn(4, 6, 6)
    ffns = [lambda inputs, matrix=matrix: torch.tanh(inputs @ matrix) for matrix in matrices]
    target = torch.randn(40, 6)

    def run(layer):
        variable = router.clone().requires_grad_()
        output = expect_answer(layer(x.clone(), variable, ffns), "the output")
        expect_shape(output, (40, 6), "the output")
        expect_true(
            output.requires_grad,
            "The output does not depend on the router any more: is there a detach(), or "
            "did the weight get lost?",
        )
        (output - target).square().mean().backward()
        return output.detach(), variable.grad

    output, gradient = run(top1_layer)
    expected, right = run(_top1_reference)
    scores = (x @ router.T).softmax(-1)  # (tokens, E)
    every = torch.stack([ffn(x) for ffn in ffns], dim=1)  # (tokens, E, hidden)
    weight, expert = scores.max(-1)
    best = every[torch.arange(len(x)), expert]  # (tokens, hidden)
    two, pair = scores.topk(2)
    both = every.gather(1, pair[..., None].expand(-1, -1, 6))  # (tokens, 2, hidden)
    logit = (x @ router.T).amax(-1)
    heard = gradient is not None and gradient.abs().max() > 1e-5 * right.abs().max()
    expect_true(
        heard,
        "The output looks fine, and the router gets no gradient (largest entry "
        f"{0.0 if gradient is None else gradient.abs().max():.0e}; a router that can learn has "
        f"{right.abs().max():.0e}). Print the weights: what are they, whatever the router says?",
    )
    expect_close(
        output,
        expected,
        "the output",
        hints={
            "two experts run for every token. The layer has k = 1": lambda values: any(
                torch.allclose(values.detach(), (w[..., None] * both).sum(1), atol=1e-4)
                for w in (two, two / two.sum(-1, keepdim=True))
            ),
            "the weight is divided by the sum over the tokens: a token's weight then depends on "
            "what stands beside it": (weight / weight.sum())[:, None] * best,
            "the gradient flows, and the weight is still 1 in the output. Let the probability "
            "itself be the weight": best,
            "the weight is the logit. It can be negative, and has no limit; want the "
            "probability": logit[:, None] * best,
            "the weight is the logarithm of the probability, which is negative": (
                weight.log()[:, None] * best
            ),
            "the weight is there twice": weight.square()[:, None] * best,
            "the weight is the sigmoid of the logit. Want the softmax that `scores` holds": (
                logit.sigmoid()[:, None] * best
            ),
            "the weight is not the probability of the chosen expert": lambda values: True,
        },
        atol=1e-4,
    )
    expect_close(gradient, right, "the gradient of the router", atol=1e-5)
    return (
        "The router hears from the loss again: the probability itself is the weight, as in the "
        "Switch Transformer."
    )


def _top1_reference(x, router, ffns):
    weight, expert = (x @ router.T).softmax(-1).max(-1)
    every = torch.stack([ffn(x) for ffn in ffns], dim=1)  # (tokens, E, hidden)
    return weight[:, None] * every[torch.arange(len(x)), expert]


def check_plan_layer(plan_layer):
    for hidden, dense_width, chosen, budget in (
        (24, 8, 4, 29_960),  # narrow experts: the router counts
        (64, 96, 4, 150_000),
        (30, 12, 4, 4_170),  # room for 13.9 experts of 270 and their rows
        (20, 36, 3, 9_620),  # exactly 13 experts of 720 and 13 rows of 20
    ):
        width = dense_width // chosen
        expert, row = 3 * hidden * width, hidden
        experts = budget // (expert + row)
        what = f"plan_layer({hidden}, {dense_width}, {chosen}, {budget})"
        answer = expect_answer(plan_layer(hidden, dense_width, chosen, budget), "your answer")
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            f"{what} should return two whole numbers, (width, experts).",
        )
        expect_true(
            tuple(answer) != (experts, width),
            "You return (experts, width); the order is (width, experts).",
        )
        expect_equal(
            answer[0],
            width,
            f"the width in {what}",
            hints={
                "one expert is as wide as the whole dense layer; all the chosen ones together "
                "should be": dense_width,
                "the chosen experts share the dense width: divide, do not multiply": dense_width
                * chosen,
            },
        )
        expect_equal(
            answer[1],
            experts,
            f"the number of experts in {what}",
            hints={
                "rounded up: then the layer no longer fits into the budget": experts + 1,
                "the router is missing: each further expert brings a row of `hidden` numbers": (
                    budget // expert
                ),
                "a SwiGLU has three matrices: gate, up and down": budget
                // (2 * hidden * width + row),
                "an expert has one matrix only in your count. How many has a SwiGLU?": budget
                // (hidden * width + row),
                "you take the router as one row; it has one for every expert": (budget - row)
                // expert,
                "the chosen experts are taken off. They are among those that are stored": experts
                - chosen,
                "the chosen experts are added. They are among those that are stored": experts
                + chosen,
                "a part of an expert cannot be stored: want a whole number": (
                    lambda value: isinstance(value, float)
                ),
            },
        )
    return "Equal work for a token, and as much to know as the memory holds."


CHECKS = {
    "04.1": check_purity,
    "04.2": check_logit_gradient,
    "04.3": check_top1_layer,
    "04.4": check_moe_loop,
    "04.5": check_plan_layer,
}
