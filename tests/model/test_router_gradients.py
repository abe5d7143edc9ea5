"""Which logits the language-model loss reaches through the weights: the table of FACTS D10, by
autograd."""

import pytest
import torch

from moe_lib.model import make_router

E, K = 6, 2


def gradient(name, k=K, **options):
    """|d loss / d logits| of one token whose experts' outputs matter differently: (chosen experts,
    (E,))."""
    torch.manual_seed(0)
    router = make_router(name, 4, E, k, **options).double().eval()
    logits = torch.randn(1, E, dtype=torch.float64).requires_grad_()
    routing = router.route(logits)
    value = torch.linspace(
        1, 3, E, dtype=torch.float64
    )  # what each expert's output is worth to the loss
    (routing.weights * value[routing.experts]).sum().backward()
    return set(routing.experts[0].tolist()), logits.grad[0].abs()


@pytest.mark.parametrize(
    ("name", "k", "options", "reaches_unselected"),
    [
        ("noisy_topk", 2, {}, False),
        ("gshard", 2, {}, False),
        ("topk", 2, dict(norm_topk_prob=True), False),  # Mixtral
        ("switch", 1, {}, True),
        ("topk", 2, {}, True),  # DeepSeek V1, V2, OLMoE
        ("group_limited", 2, dict(n_group=3, topk_group=2), True),
        ("biased_topk", 2, {}, False),  # DeepSeek-V3
        ("topk_softmax", 2, {}, False),  # gpt-oss
    ],
)
def test_gradient_to_unselected_logits(name, k, options, reaches_unselected):
    chosen, size = gradient(name, k, **options)
    others = [e for e in range(E) if e not in chosen]
    assert size[list(chosen)].max() > 1e-3
    assert (size[others].max() > 1e-3) == reaches_unselected
    assert (
        reaches_unselected or size[others].max() < 1e-12
    )  # rounding, where a softmax is divided by its sum


def test_renormalised_equals_softmax_over_the_chosen():
    """Mixtral's rule and gpt-oss's are the same numbers, in value and in gradient."""
    logits = torch.randn(50, E, dtype=torch.float64)
    results = []
    for name, options in (("topk", dict(norm_topk_prob=True)), ("topk_softmax", {})):
        leaf = logits.clone().requires_grad_()
        routing = make_router(name, 4, E, K, **options).route(leaf)
        (routing.weights * torch.arange(1, K + 1)).sum().backward()
        results.append((routing.experts, routing.weights.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1]) and torch.allclose(
        results[0][2], results[1][2]
    )
