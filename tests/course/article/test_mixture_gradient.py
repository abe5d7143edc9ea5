"""The article's gradient of a weight is zero; the right one is a dot product."""

import pytest
import torch

from moe_course.article.mixture_gradient import weight_gradients


def test_the_articles_product_is_zero_and_the_dot_product_is_right():
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(4, generator=draw, dtype=torch.float64).softmax(0)
    experts = [torch.nn.Linear(3, 6, dtype=torch.float64) for _ in range(4)]
    x = torch.randn(3, generator=draw, dtype=torch.float64)
    outputs = torch.stack([expert(x) for expert in experts]).detach()
    target = torch.randn(6, generator=draw, dtype=torch.float64)

    def loss(weights):
        return (weights @ outputs - target).square().sum()

    found = weight_gradients(a, experts, x, 2 * (a @ outputs - target))
    assert torch.equal(found["article"], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(found["right"], found["autograd"])
    for k in range(4):  # by differences, which know no rule of differentiation
        step = torch.zeros(4, dtype=torch.float64)
        step[k] = 1e-6
        difference = (loss(a + step) - loss(a - step)) / 2e-6
        torch.testing.assert_close(found["right"][k], difference, rtol=1e-6, atol=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="^a: "):
        weight_gradients(torch.ones(3), [torch.sin, torch.cos], torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match="grad_y"):
        weight_gradients(torch.ones(2), [torch.sin, torch.cos], torch.ones(2), torch.ones(3))
