"""Traces against what the layers really did, and experts switched off against a loop."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.tracing import experts_off

IDS = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=16,
            n_routed_experts=5,
            num_experts_per_tok=2,
            moe_intermediate_size=8,
            first_k_dense_replace=1,
            max_position_embeddings=16,
            initializer_range=0.3,
        )
    ).train()


def test_trace_says_what_the_experts_received(model):
    seen = {}
    handles = [
        model.layers[i].feed_forward.experts.register_forward_pre_hook(
            lambda module, args, i=i: seen.__setitem__(i, args[1])
        )
        for i in (1, 2)
    ]
    trace = trace_routing(model, IDS, MASK)
    for handle in handles:
        handle.remove()
    assert [layer.index for layer in trace.layers] == [1, 2]
    assert [layer.name for layer in trace.layers] == [
        "layers.1.feed_forward",
        "layers.2.feed_forward",
    ]
    for layer in trace.layers:
        assert layer.n_experts == 5 and layer.experts.shape == layer.weights.shape == (2, 9, 2)
        assert torch.equal(layer.experts.flatten(0, 1), seen[layer.index].experts)
        assert torch.equal(layer.weights.flatten(0, 1), seen[layer.index].weights)
        assert torch.allclose(layer.scores.sum(-1), torch.ones(2, 9))
    assert model.training and not any(p.grad is not None for p in model.parameters())


def test_load_leaves_padding_out(model):
    trace = trace_routing(model, IDS, MASK)
    counts = [0] * 5
    for row in range(2):
        for t in range(9):
            if MASK[row, t]:
                for expert in trace.layer(1).experts[row, t].tolist():
                    counts[expert] += 1
    assert trace.load(1).tolist() == counts and sum(counts) == 15 * 2
    assert trace.loads().shape == (2, 5)


def test_experts_off_are_never_chosen_and_come_back(model):
    before = trace_routing(model, IDS)
    with experts_off(model, {1: [0, 3]}):
        during = trace_routing(model, IDS)
    assert during.load(1)[[0, 3]].tolist() == [0, 0] and before.load(1)[[0, 3]].sum() > 0
    scores = before.layer(1).scores.clone()
    scores[..., [0, 3]] = 0
    assert torch.equal(during.layer(1).experts, scores.topk(2, dim=-1).indices)
    after = trace_routing(model, IDS)
    assert all(
        torch.equal(a.weights, b.weights) for a, b in zip(before.layers, after.layers, strict=True)
    )


def test_hooks_are_removed_after_an_error(model):
    with pytest.raises(RuntimeError, match="inside"), experts_off(model, {1: [0], 2: [1]}):
        raise RuntimeError("inside")
    with pytest.raises(ValueError, match="off"):
        with experts_off(model, {1: [0], 0: [1]}):
            pass
    assert not any(module._forward_hooks for module in model.modules())


def test_refusals_name_the_argument(model):
    with pytest.raises(TypeError, match="model: got 'Linear'"):
        trace_routing(torch.nn.Linear(2, 2), IDS)
    with pytest.raises(ValueError, match="model: got 'a dense model'"):
        trace_routing(LanguageModel(model.config.dense().replace(num_hidden_layers=1)), IDS)
    with pytest.raises(ValueError, match="index: got 0; wants a layer with experts: .1, 2."):
        trace_routing(model, IDS).layer(0)
    for off, message in (
        ({1: [5]}, "off: got .5.; wants experts of layer 1: 0 to 4"),
        ({7: [0]}, "off: got 7"),
        ({1: [0, 1, 2, 3]}, "4 of 5 experts"),
        ({0: [1]}, "layer 0"),
    ):
        with pytest.raises(ValueError, match=message), experts_off(model, off):
            pass
