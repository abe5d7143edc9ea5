"""The routing of a trace forced on models: who runs, with which weights, and what is refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from moe_lib import LanguageModel, ModelConfig, RoutingTrace, trace_routing
from moe_lib.tracing import forced_routing
from moe_lib.tracing.hugging_face import find_layers
from tests.tracing.families import FAMILIES, IDS, build

CANNOT = {
    "deepseek_v4": "a hash table",
    "doge": "product keys",
    "jetmoe": "no experts module that is given the choice",
    "llama4": "no experts module that is given the choice",
    "nllb_moe": "its experts do not follow its router",
    "phimoe": "a sampler of its authors",
    "switch_transformers": "no top-k",
    "zaya": "tokens that skip the experts",
}


def called_with(model) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """{layer: (experts, weights)} that the experts modules are called with, hooked anew."""
    seen = {}
    for layer in find_layers(model):

        def note(module, args, index=layer.index):
            seen[index] = [part for part in args if isinstance(part, torch.Tensor)][1:3]

        layer.experts.register_forward_pre_hook(note)
    return seen


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in CANNOT])
def test_a_families_own_routing_changes_nothing_and_another_ones_runs(family):
    model, other = build(family), trace_routing(build(family, seed=1), IDS)
    own = trace_routing(model, IDS)
    with torch.no_grad():
        free = model(input_ids=IDS)[0]
        with forced_routing(model, own):
            same = model(input_ids=IDS)[0]
        with forced_routing(model, other):  # what the experts are called with is checked within
            foreign = model(input_ids=IDS)[0]
        again = model(input_ids=IDS)[0]
    torch.testing.assert_close(same, free, atol=1e-5, rtol=1e-4)
    assert (foreign - free).abs().max() > 0.01 and foreign.isfinite().all()
    assert torch.equal(again, free)


@pytest.mark.parametrize("family", CANNOT)
def test_a_family_that_cannot_be_told_is_refused_by_name(family):
    model, other = build(family), trace_routing(build(family, seed=1), IDS)
    with (
        pytest.raises(ValueError, match="told which these are|fewer than k experts"),
        torch.no_grad(),
        forced_routing(model, other),
    ):
        trace_routing(model, IDS)
    after = trace_routing(model, IDS)  # no mode and no hook is left
    assert after.layers


def test_mixtral_weighs_forced_experts_with_its_own_scores():
    model = build("mixtral")
    gate, seen = model.model.layers[0].mlp.gate, []
    gate.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    called = called_with(model)
    given = trace_routing(build("mixtral", seed=1), IDS)
    seen.clear()
    with torch.no_grad(), forced_routing(model, given):
        model(input_ids=IDS)
    experts, weights = called[0]
    logits = seen[0].flatten(0, -2) @ gate.weight.T
    # arXiv 2510.11370: exp(s) over the sum of exp(s) of the experts that the mask leaves
    expected = logits.gather(1, experts).exp()
    expected = expected / expected.sum(-1, keepdim=True)
    assert torch.equal(
        experts.sort(-1).values, given.layer(0).experts.flatten(0, 1).sort(-1).values
    )
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize(
    "family, scores, scale",
    [("deepseek_v3", torch.sigmoid, 2.5), ("deepseek_v2", lambda x: x.softmax(-1), 1.0)],
)
def test_groups_and_biases_do_not_change_forced_weights(family, scores, scale):
    changes = dict(topk_method="group_limited_greedy") if family == "deepseek_v2" else {}
    model = build(family, **changes)
    gate, seen = model.model.layers[1].mlp.gate, []
    gate.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    called = called_with(model)
    given = trace_routing(build(family, seed=1, **changes), IDS)  # inside one group for each token
    own = trace_routing(model, IDS).layer(1).experts
    assert (own // 4 != given.layer(1).experts // 4).any()  # other groups than the model's own
    seen.clear()
    with torch.no_grad(), forced_routing(model, given):
        model(input_ids=IDS)
    experts, weights = called[1]
    expected = scores(F.linear(seen[0].flatten(0, -2), gate.weight)).gather(1, experts)
    if family == "deepseek_v3":
        expected = scale * expected / expected.sum(-1, keepdim=True)
    else:
        expected = expected * model.config.routed_scaling_factor
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("router", ["topk", "group_limited", "biased_topk", "topk_softmax"])
def test_our_own_routers(router):
    more = dict(n_group=2, topk_group=1) if router == "group_limited" else {}
    config = ModelConfig.preset("tiny", vocab_size=64, causal=True, router=router, **more)
    torch.manual_seed(0)
    model = LanguageModel(config).eval()
    torch.manual_seed(1)
    given = trace_routing(LanguageModel(config).eval(), IDS)
    with torch.no_grad(), forced_routing(model, given):
        routing = model(IDS).routing
    for layer in given.layers:
        forced = routing[layer.index]
        assert torch.equal(forced.experts, layer.experts.flatten(0, 1))
        free = model.layers[layer.index].feed_forward.router
        if router == "topk_softmax":
            expected = forced.logits.gather(1, forced.experts).softmax(-1)
        else:
            expected = forced.scores.gather(1, forced.experts)
            if free.norm_topk_prob:
                expected = expected / expected.sum(-1, keepdim=True)
            expected = expected * free.routed_scaling_factor
        torch.testing.assert_close(forced.weights, expected)


def test_gradients_reach_the_router_through_forced_weights():
    model = build("mixtral")
    with forced_routing(model, trace_routing(build("mixtral", seed=1), IDS)):
        model(input_ids=IDS, labels=IDS).loss.backward()
    assert model.model.layers[0].mlp.gate.weight.grad.abs().sum() > 0


def test_padding_and_the_last_token_choose_for_themselves():
    model, more = build("olmoe"), torch.cat((IDS, IDS[:, :1]), dim=1)
    other = trace_routing(build("olmoe", seed=1), IDS)
    real = other.real.clone()
    real[1, 4:] = False
    called = called_with(model)
    with torch.no_grad(), forced_routing(model, replace(other, real=real)):
        model(input_ids=more)
    got = called[0][0].view(2, 8, -1).sort(-1).values
    wanted = other.layer(0).experts.sort(-1).values
    free = trace_routing(model, more).layer(0).experts.sort(-1).values
    assert torch.equal(got[:, :7][real], wanted[real])
    assert torch.equal(got[1, 4:], free[1, 4:]) and torch.equal(got[:, 7], free[:, 7])
    assert (wanted[~real] != free[:, :7][~real]).any()


def test_a_trace_of_another_model_is_refused():
    model = build("deepseek_v2")  # layer 0 is dense, 8 experts, k 3
    trace = trace_routing(model, IDS)
    layer = trace.layers[0]
    wrong = {
        "layer 0": replace(layer, index=0),
        "expert 8": replace(layer, n_experts=9, experts=layer.experts + 1),
        "k = 2": replace(layer, experts=layer.experts[..., :2]),
    }
    for words, changed in wrong.items():
        with (
            pytest.raises(ValueError, match=f"^trace: got '{words}'"),
            torch.no_grad(),
            forced_routing(model, RoutingTrace([changed], trace.input_ids, trace.real)),
        ):
            model(input_ids=IDS)
    with pytest.raises(ValueError, match="^input_ids: got '6 tokens'"), torch.no_grad():
        with forced_routing(model, trace):
            model(input_ids=IDS[:, :3])
    assert trace_routing(model, IDS).layers[0].experts.equal(layer.experts)
