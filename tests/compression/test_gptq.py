"""Rounding that looks at the data: against plain rounding, and sums by hand."""

import pytest
import torch

from moe_lib.compression import gptq_weight, input_squares, quantise, quantise_weight
from tests.training.small import make_model

IDS = torch.randint(0, 20, (5, 9), generator=torch.Generator().manual_seed(1))


def correlated(n=400, width=32):
    draw = torch.Generator().manual_seed(2)
    return torch.randn(n, 6, generator=draw) @ torch.randn(
        6, width, generator=draw
    ) + 0.1 * torch.randn(n, width, generator=draw)


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_the_output_is_nearer_than_after_plain_rounding(bits):
    x = correlated()
    weight = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    squares = x.T @ x
    errors = [
        float(((weight - found.dequantised()) @ x.T).square().sum())
        for found in (quantise_weight(weight, bits, 16), gptq_weight(weight, squares, bits, 16))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_inputs_that_have_nothing_to_do_with_each_other_leave_plain_rounding():
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    found, plain = gptq_weight(weight, torch.eye(32), 3, 16), quantise_weight(weight, 3, 16)
    assert torch.equal(found.packed, plain.packed) and torch.equal(found.scale, plain.scale)
    assert torch.equal(gptq_weight(weight, torch.zeros(32, 32), 3, 16).packed, plain.packed)


def test_squares_are_the_inputs_times_themselves():
    model, seen = make_model(tie_word_embeddings=True).eval(), {}
    layer = model.layers[1].feed_forward
    layer.experts.register_forward_pre_hook(lambda _, args: seen.update(x=args[0], routing=args[1]))
    model.head.register_forward_pre_hook(lambda _, args: seen.update(head=args[0]))
    with torch.no_grad():
        squares = input_squares(model, IDS)
        x, chosen = seen["x"].double(), (seen["routing"].experts == 2).any(1)
        head = seen["head"].flatten(0, 1).double()
    assert torch.allclose(squares["layers.1.feed_forward.router.weight"], x.T @ x)
    found = squares["layers.1.feed_forward.experts.gate_up_proj"]
    assert torch.allclose(found[2], x[chosen].T @ x[chosen]) and found.shape == (4, 16, 16)
    assert torch.allclose(squares["embedding.weight"], head.T @ head)


def test_a_model_rounded_by_its_data_stays_nearer():
    torch.manual_seed(0)
    model = make_model(router="biased_topk").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    squares, before = input_squares(model, IDS), model(IDS).logits
    missed = {}
    for method, data in (("nearest", None), ("gptq", squares)):
        found = quantise(model, {"experts": 2}, method=method, squares=data).model
        missed[method] = float((found(IDS).logits - before).square().mean())
    assert missed["gptq"] < missed["nearest"]
