"""The ways to run experts against the plain loop, and the MoE layer against transformers."""

from dataclasses import replace

import pytest
import torch

from moe_lib import MoELayer, Routing
from moe_lib.model import run_loop, run_masked, run_sorted
from moe_lib.model.fast.dispatch import combine, dispatch, sort_by_expert, weighted_swiglu
from moe_lib.model.fast.ways import run_grouped, run_in_parts

E, D, WIDTH, K = 6, 10, 7, 2  # odd sizes take the general path,
ALIGNED = 16, 8  # these sizes torch's grouped kernel

pytestmark = pytest.mark.usefixtures("one_thread")


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
        experts,
        weights.detach().requires_grad_(),
        scores,
        logits,
        torch.ones_like(experts, dtype=torch.bool),
    )


def run(function, tokens, load, dtype, d=D, width=WIDTH):
    torch.manual_seed(0)
    inputs = [
        torch.randn(tokens, d, dtype=dtype),
        torch.randn(E, 2 * width, d, dtype=dtype) / d**0.5,
        torch.randn(E, d, width, dtype=dtype) / width**0.5,
    ]
    for tensor in inputs:
        tensor.requires_grad_()
    routing = make_routing(tokens, load, dtype)
    output = function(inputs[0], routing, *inputs[1:])
    output.backward(torch.randn(tokens, d, generator=torch.Generator().manual_seed(2)).to(dtype))
    return [output, *(tensor.grad for tensor in inputs), routing.weights.grad]


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}


@pytest.fixture(params=[1, 500, 10**9], ids=["a token a part", "some tokens a part", "one part"])
def buffer(request, monkeypatch):
    """Tests are smaller than one part of real size, so they cut finer."""
    monkeypatch.setattr("moe_lib.model.fast.ways.LARGEST_BUFFER", request.param)


def assert_equals_loop(function, tokens, load, dtype, sizes):
    expected = run(run_loop, tokens, load, dtype, *sizes)
    actual = run(function, tokens, load, dtype, *sizes)
    for name, a, e in zip(
        ("output", "x", "gate_up", "down", "weights"), actual, expected, strict=True
    ):
        assert torch.allclose(a, e, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]), name
        assert e.abs().max() > 0, f"{name}: comparing zeros proves nothing"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("load", ["even", "skewed", "empty experts"])
@pytest.mark.parametrize("tokens", [1, 2, 37])
@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (run_masked, (D, WIDTH)),
        (run_sorted, (D, WIDTH)),
        (run_grouped, (D, WIDTH)),
        (run_grouped, ALIGNED),
    ],
)
def test_mask_and_sorted_equal_the_loop_forward_and_backward(function, sizes, tokens, load, dtype):
    assert_equals_loop(function, tokens, load, dtype, sizes)


@pytest.mark.parametrize("load", ["even", "skewed", "empty experts"])
@pytest.mark.parametrize("tokens", [1, 37])
def test_parts_equal_the_loop_forward_and_backward(tokens, load, buffer):
    assert_equals_loop(run_in_parts, tokens, load, torch.float32, ALIGNED)


def test_no_token_gives_no_token():
    layer = MoELayer(D, WIDTH, E, K, n_shared_experts=1)
    output, routing = layer(torch.empty(3, 0, D))
    assert (
        output.shape == (3, 0, D)
        and routing.experts.shape == (0, K)
        and routing.load().tolist() == [0] * E
    )


def test_dropped_pairs_add_nothing():
    routing = make_routing(9, "even", torch.float32)
    kept = torch.rand(9, K) > 0.4
    x, gate_up, down = torch.randn(9, D), torch.randn(E, 2 * WIDTH, D), torch.randn(E, D, WIDTH)
    dropped = Routing(routing.experts, routing.weights, routing.scores, routing.logits, kept)
    zeroed = Routing(
        routing.experts,
        routing.weights * kept,
        routing.scores,
        routing.logits,
        torch.ones_like(kept),
    )
    assert not kept.all()
    expected = run_loop(x, zeroed, gate_up, down)
    for function in (run_masked, run_loop, run_sorted, run_grouped):
        assert torch.allclose(function(x, dropped, gate_up, down), expected, atol=1e-4)


@pytest.mark.parametrize("function", [run_masked, run_loop, run_sorted, run_grouped, run_in_parts])
def test_dropped_pairs_get_no_gradient_and_do_not_run(function):
    d, width = ALIGNED
    routing = make_routing(9, "even", torch.float32)
    kept = torch.rand(9, K, generator=torch.Generator().manual_seed(3)) > 0.4
    kept[4] = False  # a token without any expert
    routing = replace(
        routing, kept=kept & (routing.experts != 2)
    )  # and an expert without any token
    x, gate_up, down = (
        t.requires_grad_()
        for t in (torch.randn(9, d), torch.randn(E, 2 * width, d), torch.randn(E, d, width))
    )
    output = function(x, routing, gate_up, down)
    output.square().sum().backward()
    assert (
        (output[4] == 0).all()
        and (x.grad[4] == 0).all()
        and (output[routing.kept.any(1)] != 0).any(1).all()
    )
    assert (routing.weights.grad[~routing.kept] == 0).all() and (
        routing.weights.grad[routing.kept] != 0
    ).all()
    assert (gate_up.grad[2] == 0).all() and (down.grad[2] == 0).all()
    if function is not run_masked:
        with torch.no_grad():
            gate_up[2] = torch.nan  # what does not run does not spoil the result either
        assert torch.isfinite(function(x, routing, gate_up, down)).all()


@pytest.mark.parametrize("function", [run_sorted, run_grouped, run_in_parts])
def test_everything_dropped_gives_zeros(function):
    d, width = ALIGNED
    routing = make_routing(3, "even", torch.float32)
    routing = replace(routing, kept=torch.zeros_like(routing.kept))
    x = torch.randn(3, d, requires_grad=True)
    output = function(x, routing, torch.randn(E, 2 * width, d), torch.randn(E, d, width))
    output.sum().backward()
    assert (output == 0).all() and (x.grad == 0).all()


def test_columns_without_a_choice_do_not_run():
    """Expert choice gives tokens different numbers of experts: an empty column names an expert all
    the same."""
    d, width = ALIGNED
    routing = make_routing(5, "even", torch.float32)
    chosen = torch.tensor([[True, False]] * 5)
    routing = replace(
        routing, experts=routing.experts[:, :1].repeat(1, 2), kept=chosen, chosen=chosen
    )
    alone = replace(
        routing,
        experts=routing.experts[:, :1],
        weights=routing.weights[:, :1],
        kept=chosen[:, :1],
        chosen=None,
    )
    x, gate_up, down = torch.randn(5, d), torch.randn(E, 2 * width, d), torch.randn(E, d, width)
    expected = run_loop(x, alone, gate_up, down)
    for function in (run_masked, run_loop, run_sorted, run_grouped, run_in_parts):
        assert torch.allclose(function(x, routing, gate_up, down), expected, atol=1e-5)


@pytest.mark.parametrize("frozen", ["x", "weights", "gate_up", "down"])
def test_frozen_inputs_get_no_gradient_and_the_others_theirs(frozen):
    d, width = ALIGNED
    grads = []
    for function in (run_loop, run_grouped):
        torch.manual_seed(0)
        routing = make_routing(9, "even", torch.float32)
        inputs = dict(
            x=torch.randn(9, d),
            gate_up=torch.randn(E, 2 * width, d),
            down=torch.randn(E, d, width),
            weights=routing.weights.detach(),
        )
        for name, tensor in inputs.items():
            tensor.requires_grad_(name != frozen)
        routing = replace(routing, weights=inputs["weights"])
        function(inputs["x"], routing, inputs["gate_up"], inputs["down"]).square().sum().backward()
        grads.append({name: tensor.grad for name, tensor in inputs.items()})
    assert grads[1].pop(frozen) is None
    for name, grad in grads[1].items():
        assert torch.allclose(grad, grads[0][name], atol=1e-3, rtol=1e-4), name


def some_kept(tokens=7):
    routing = make_routing(tokens, "even", torch.float64)
    kept = torch.rand(tokens, K, generator=torch.Generator().manual_seed(3)) > 0.3
    kept[2] = False
    return replace(routing, kept=kept)


def test_order_by_hand():
    experts, kept = (
        torch.tensor([[2, 0], [0, 1], [2, 1]]),
        torch.tensor([[True, True], [True, False], [False, True]]),
    )
    order = sort_by_expert(Routing(experts, kept.float(), torch.rand(3, 4), torch.rand(3, 4), kept))
    assert order.pair.tolist() == [1, 2, 5, 0] and order.token.tolist() == [0, 1, 2, 0]
    assert order.load.tolist() == [2, 1, 1, 0]
    assert order.place.tolist() == [3, 0, 1, 2] and order.start.tolist() == [0, 2, 3]


def test_dispatch_and_combine_are_a_matrix_and_its_transpose():
    order = sort_by_expert(some_kept())
    matrix = torch.zeros(len(order.pair), 7, dtype=torch.float64)
    matrix[torch.arange(len(order.pair)), order.token] = 1
    x, rows = (
        torch.randn(7, 5, dtype=torch.float64),
        torch.randn(len(order.pair), 5, dtype=torch.float64),
    )
    assert torch.equal(dispatch(x, order), matrix @ x) and torch.allclose(
        combine(rows, order), matrix.T @ rows
    )


def test_written_out_gradients_pass_gradcheck():
    order = sort_by_expert(some_kept())
    n = len(order.pair)
    make = torch.Generator().manual_seed(0)
    x, rows, gate_up, weight = (
        torch.randn(*size, generator=make, dtype=torch.float64, requires_grad=True)
        for size in ((7, 3), (n, 3), (n, 8), (n, 1))
    )
    assert torch.autograd.gradcheck(lambda x: dispatch(x, order), x)
    assert torch.autograd.gradcheck(lambda rows: combine(rows, order), rows)
    assert torch.autograd.gradcheck(weighted_swiglu, (gate_up, weight))


@pytest.mark.parametrize("sizes", [(D, WIDTH), ALIGNED])
def test_same_input_same_output_and_prefix_consistent(sizes, buffer):
    torch.manual_seed(0)
    layer, x = MoELayer(*sizes, E, K).eval(), torch.randn(1, 40, sizes[0])
    whole, _ = layer(x)
    assert torch.equal(whole, layer(x)[0])
    for length in (1, 5, 39):
        assert torch.allclose(layer(x[:, :length])[0], whole[:, :length], atol=1e-6)


@pytest.mark.parametrize("scaling", [1.0, 2.5])
def test_layer_equals_transformers_deepseek_v2(scaling):
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    torch.manual_seed(0)
    config = DeepseekV2Config(
        hidden_size=D,
        moe_intermediate_size=WIDTH,
        n_routed_experts=E,
        num_experts_per_tok=K,
        n_shared_experts=2,
        routed_scaling_factor=scaling,
        topk_method="greedy",
        n_group=1,
        topk_group=1,
        hidden_act="silu",
        num_attention_heads=2,
    )
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
    """Two experts, one number: worked out with pencil. silu(1)=0.731059, softmax([1, 0])=[0.731059,
    0.268941]."""
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
    good = dict(
        hidden_size=D, moe_intermediate_size=WIDTH, n_routed_experts=E, num_experts_per_tok=K
    )
    with pytest.raises(ValueError, match=message):
        MoELayer(**{**good, **arguments})


def test_bad_input_is_named():
    layer = MoELayer(D, WIDTH, E, K)
    with pytest.raises(
        ValueError, match=r"x: got \(3, 4\); wants a last dimension of hidden_size \(10\)"
    ):
        layer(torch.randn(3, 4))
    with pytest.raises(TypeError, match="x: got torch.int64"):
        layer(torch.ones(3, D, dtype=torch.long))
    with pytest.raises(TypeError, match="n_routed_experts: got 2.0"):
        MoELayer(D, WIDTH, 2.0, 1)
