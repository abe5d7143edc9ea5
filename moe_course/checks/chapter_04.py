"""Checks of the exercises of chapter 04, mixture of experts."""

import torch

from moe_course.checks.comparisons import (
    expect_answer,
    expect_close,
    expect_equal,
    expect_shape,
    expect_true,
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
        answer = logit_gradient(logits, outputs, grad_y)
        expect_close(
            answer,
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
                "all zero: this is what the article's formula gives": torch.zeros(experts),
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
                "the rows": lambda output, right=right: bool(
                    ((output - right).norm(dim=1) < 1e-4).any()
                ),
            },
            atol=1e-4,
        )
        expect_true(
            sum(rows) <= tokens * k,
            f"The output is right, but your experts ran on {sum(rows)} rows; {tokens} tokens "
            f"with {k} choices "
            f"make {tokens * k}. Give each expert one matrix (n, d): the tokens that chose it.",
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
    expect_true(
        gradient is not None and gradient.abs().max() > 1e-5 * right.abs().max(),
        "The output looks fine, and the router gets no gradient (largest entry "
        f"{0.0 if gradient is None else gradient.abs().max():.0e}; a router that can learn has "
        f"{right.abs().max():.0e}). Print the weights: what are they, whatever the router says?",
    )
    expect_close(
        output,
        expected,
        "the output",
        hints={"the weight is not the probability of the chosen expert": lambda values: True},
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


def check_count_moe_layer(count_moe_layer):
    for sizes in ((48, 20, 9, 4, 1), (64, 24, 8, 3, 0)):
        hidden, width, experts, chosen, shared = sizes
        expert, router = 3 * hidden * width, experts * hidden
        answer = expect_answer(count_moe_layer(*sizes), "your answer")
        expect_true(
            isinstance(answer, (tuple, list)) and len(answer) == 2,
            f"count_moe_layer{sizes} should return two whole numbers, (stored, active).",
        )
        expect_true(
            tuple(answer)
            != ((chosen + shared) * expert + router, (experts + shared) * expert + router),
            "You return (active, stored); the order is (stored, active).",
        )
        for name, got, n in (
            ("stored", answer[0], experts + shared),
            ("active", answer[1], chosen + shared),
        ):
            without = chosen if name == "active" else experts
            expect_equal(
                got,
                n * expert + router,
                f"{name} in count_moe_layer{sizes}",
                hints={
                    "the router is missing: it has a row of `hidden` numbers for every expert": n
                    * expert,
                    "the router computes a score for every expert, also for those not "
                    "chosen: all its rows are active": n * expert + chosen * hidden,
                    "the router does not score the shared experts: every token passes them": n
                    * expert
                    + (experts + shared) * hidden,
                    "a SwiGLU has three matrices: gate, up and down": n * expert * 2 // 3 + router,
                    "every token also passes the shared experts: stored, and active": without
                    * expert
                    + router,
                    "you count all experts as active; a token passes the chosen and the "
                    "shared ones": (experts + shared) * expert + router,
                },
            )
    return "Stored and active: the two sizes of a Mixture-of-Experts model."


CHECKS = {
    "04.1": check_logit_gradient,
    "04.2": check_top1_layer,
    "04.3": check_moe_loop,
    "04.4": check_count_moe_layer,
}
