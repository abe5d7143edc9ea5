"""The sorted expert computation against the plain loop, and the MoE layer against transformers."""

import pytest
import torch

from moe_lib import MoELayer, Routing
from moe_lib.model import run_loop, run_sorted

E, D, WIDTH, K = 6, 10, 7, 2  # odd sizes take the general path,
ALIGNED = 16, 8  # these sizes torch's grouped kernel


def make_routing(tokens, load, dtype):
    """`load` says how the tokens fall on the experts."""
    torch.manual_seed(1)
    logits = torch.randn(tokens, E, dtype=torch.float64)
    if load == "skewed":
        logits[:, 0] += 8  # nearly all choose expert 0 first
    if load == "empty experts":
        logits[:, 3:] = -torch.inf
    scores = logits.softmax(-1).to(dtype)
    weights, experts = scores.topk(K, dim=-1)
    return Routing(
        experts, weights.detach().requires_grad_(), scores, logits, torch.ones_like(experts, dtype=torch.bool)
    )


def run(function, tokens, load, dtype, d=D, width=WIDTH):
    torch.manual_seed(0)
    inputs = [torch.randn(tokens, d, dtype=dtype), torch.randn(E, 2 * width, d, dtype=dtype) / d**0.5,
              torch.randn(E, d, width, dtype=dtype) / width**0.5]  # fmt: skip
    for tensor in inputs:
        tensor.requires_grad_()
    routing = make_routing(tokens, load, dtype)
    output = function(inputs[0], routing, *inputs[1:])
    output.backward(torch.randn(tokens, d, generator=torch.Generator().manual_seed(2)).to(dtype))
    return [output, *(tensor.grad for tensor in inputs), routing.weights.grad]


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("load", ["even", "skewed", "empty experts"])
@pytest.mark.parametrize("tokens", [1, 2, 37])
@pytest.mark.parametrize("sizes", [(D, WIDTH), ALIGNED])
def test_sorted_equals_loop_forward_and_backward(sizes, tokens, load, dtype):
    expected = run(run_loop, tokens, load, dtype, *sizes)
    actual = run(run_sorted, tokens, load, dtype, *sizes)
    for name, a, e in zip(("output", "x", "gate_up", "down", "weights"), actual, expected, strict=True):
        assert torch.allclose(a, e, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]), name
        assert e.abs().max() > 0, f"{name}: comparing zeros proves nothing"


def test_no_token_gives_no_token():
    layer = MoELayer(D, WIDTH, E, K, n_shared_experts=1)
    output, routing = layer(torch.empty(3, 0, D))
    assert output.shape == (3, 0, D) and routing.experts.shape == (0, K) and routing.load().tolist() == [0] * E


def test_dropped_pairs_add_nothing():
    routing = make_routing(9, "even", torch.float32)
    kept = torch.rand(9, K) > 0.4
    x, gate_up, down = torch.randn(9, D), torch.randn(E, 2 * WIDTH, D), torch.randn(E, D, WIDTH)
    dropped = Routing(routing.experts, routing.weights, routing.scores, routing.logits, kept)
    zeroed = Routing(routing.experts, routing.weights * kept, routing.scores, routing.logits, torch.ones_like(kept))
    assert not kept.all()
    for function in (run_loop, run_sorted):
        assert torch.allclose(function(x, dropped, gate_up, down), run_loop(x, zeroed, gate_up, down), atol=1e-4)


def test_same_input_same_output_and_prefix_consistent():
    torch.manual_seed(0)
    layer, x = MoELayer(D, WIDTH, E, K).eval(), torch.randn(1, 40, D)
    whole, _ = layer(x)
    assert torch.equal(whole, layer(x)[0])
    for length in (1, 5, 39):
        assert torch.allclose(layer(x[:, :length])[0], whole[:, :length], atol=1e-6)


@pytest.mark.parametrize("scaling", [1.0, 2.5])
def test_layer_equals_transformers_deepseek_v2(scaling):
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    torch.manual_seed(0)
    config = DeepseekV2Config(hidden_size=D, moe_intermediate_size=WIDTH, n_routed_experts=E, num_experts_per_tok=K,
                              n_shared_experts=2, routed_scaling_factor=scaling, topk_method="greedy", n_group=1,
                              topk_group=1, hidden_act="silu", num_attention_heads=2)  # fmt: skip
    official = DeepseekV2Moe(config).eval()
    layer = MoELayer(D, WIDTH, E, K, n_shared_experts=2, routed_scaling_factor=scaling)
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.normal_(std=0.3)
        layer.router.weight.copy_(official.gate.weight)
        layer.experts.gate_up_proj.copy_(official.experts.gate_up_proj)
        layer.experts.down_proj.copy_(official.experts.down_proj)
        layer.shared.load_state_dict(official.shared_experts.state_dict())
        x = torch.randn(2, 11, D)
        assert torch.allclose(layer(x)[0], official(x), atol=1e-5)


def test_layer_by_hand():
    """Two experts, one number: worked out with pencil. silu(1)=0.731059, softmax([1, 0])=[0.731059, 0.268941]."""
    layer = MoELayer(1, 1, 2, 1)
    with torch.no_grad():
        layer.router.weight.copy_(torch.tensor([[1.0], [0.0]]))
        layer.experts.gate_up_proj.copy_(torch.tensor([[[1.0], [2.0]], [[5.0], [5.0]]]))
        layer.experts.down_proj.copy_(torch.tensor([[[3.0]], [[5.0]]]))
    output, routing = layer(torch.ones(1, 1))
    assert routing.experts.tolist() == [[0]]
    assert abs(output.item() - 0.731059 * (0.731059 * 2 * 3)) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(hidden_size=0), "hidden_size: got 0"),
        (dict(num_experts_per_tok=9), "num_experts_per_tok: got 9; wants at most n_routed_experts"),
        (dict(n_shared_experts=-1), "n_shared_experts: got -1"),
        (dict(num_experts_per_tok=1, norm_topk_prob=True), "norm_topk_prob: got True"),
    ],
)
def test_bad_sizes_are_named(arguments, message):
    good = dict(hidden_size=D, moe_intermediate_size=WIDTH, n_routed_experts=E, num_experts_per_tok=K)
    with pytest.raises(ValueError, match=message):
        MoELayer(**{**good, **arguments})


def test_bad_input_is_named():
    layer = MoELayer(D, WIDTH, E, K)
    with pytest.raises(ValueError, match=r"x: got \(3, 4\); wants a last dimension of hidden_size \(10\)"):
        layer(torch.randn(3, 4))
    with pytest.raises(TypeError, match="x: got torch.int64"):
        layer(torch.ones(3, D, dtype=torch.long))
    with pytest.raises(TypeError, match="n_routed_experts: got 2.0"):
        MoELayer(D, WIDTH, 2.0, 1)
