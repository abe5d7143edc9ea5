"""Experts of Hugging Face models switched off: never chosen, the rest as a hand calculation
says."""

import pytest
import torch

from moe_lib import trace_routing
from moe_lib.tracing import experts_off
from moe_lib.tracing.hugging_face import find_layers
from moe_lib.tracing.interventions.banning import number_of_experts
from tests.tracing.families import FAMILIES, IDS, build

CANNOT = {
    "doge": "product keys",
    "nllb_moe": "its experts do not follow its router",
    "deepseek_v4": "a hash table",
}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in CANNOT])
def test_banned_experts_are_never_chosen_and_come_back(family):
    model = build(family)
    before = trace_routing(model, IDS)
    layer = before.layers[-1]
    banned = (
        before.load(layer.index).argsort(descending=True)[:2].tolist()
    )  # the two that are missed most
    with experts_off(model, {layer.index: banned}):
        during = trace_routing(model, IDS)
    used = during.layer(layer.index)
    real = used.weights != 0
    assert before.load(layer.index)[banned].sum() > 0
    assert (
        not torch.isin(used.experts[real], torch.tensor(banned)).any()
        and used.weights.isfinite().all()
    )
    after = trace_routing(model, IDS)
    for a, b in zip(before.layers, after.layers, strict=True):
        assert torch.equal(a.experts, b.experts) and torch.equal(a.weights, b.weights)
    assert all("forward" not in vars(module) for module in model.modules())


def test_mixtral_chooses_the_next_best_with_a_new_softmax():
    model = build("mixtral")
    seen = []
    handle = model.model.layers[0].mlp.gate.register_forward_hook(
        lambda m, args, output: seen.append(args[0])
    )
    with experts_off(model, {0: [1, 4]}):
        layer = trace_routing(model, IDS).layer(0)
    handle.remove()
    logits = seen[0] @ model.model.layers[0].mlp.gate.weight.T
    logits[:, [1, 4]] = -torch.inf
    best = logits.softmax(-1).topk(3)
    assert torch.equal(layer.experts.flatten(0, 1), best.indices)
    torch.testing.assert_close(
        layer.weights.flatten(0, 1), best.values / best.values.sum(-1, keepdim=True)
    )


def test_deepseek_v3_chooses_with_its_bias_and_weighs_without():
    model = build("deepseek_v3")
    gate, seen = model.model.layers[1].mlp.gate, []
    handle = gate.register_forward_hook(lambda m, args, output: seen.append(args[0]))
    with experts_off(model, {1: [2]}):
        layer = trace_routing(model, IDS).layer(1)
    handle.remove()
    scores = (seen[0].flatten(0, -2) @ gate.weight.T).sigmoid()
    for token, row in enumerate(scores.tolist()):
        row[2] = 0.0  # a logit of -inf; its bias may still help its group
        biased = [s + b for s, b in zip(row, gate.e_score_correction_bias.tolist(), strict=True)]
        groups = [sum(sorted(biased[g : g + 4])[-2:]) for g in (0, 4)]
        start = 4 * groups.index(max(groups))
        allowed = [e for e in range(start, start + 4) if e != 2]
        chosen = sorted(allowed, key=lambda e: -biased[e])[:3]
        assert sorted(layer.experts.flatten(0, 1)[token].tolist()) == sorted(chosen)
        total = sum(row[e] for e in chosen)
        expected = sorted((2.5 * row[e] / total for e in chosen), reverse=True)
        assert layer.weights.flatten(0, 1)[token].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", CANNOT)
def test_what_cannot_be_told_is_refused_in_words(family):
    model = build(family)
    index = next(p.index for p in find_layers(model))
    with (
        pytest.raises(ValueError, match="^off: .*can be told to avoid"),
        experts_off(model, {index: [0]}),
    ):
        pass


def test_a_forward_that_somebody_else_put_there_comes_back():
    model = build("mixtral")
    gate = model.model.layers[0].mlp.gate
    own, calls = gate.forward, []
    gate.forward = lambda hidden: (calls.append(1), own(hidden))[1]  # as accelerate does
    kept = gate.forward
    with experts_off(model, {0: [1]}), experts_off(model, {0: [2]}):
        layer = trace_routing(model, IDS).layer(0)
    assert (
        not torch.isin(layer.experts, torch.tensor([1, 2])).any()
        and calls == [1]
        and gate.forward is kept
    )


def test_wrong_layers_and_experts_are_named():
    model = build("deepseek_v2")
    for off, message in (
        ({0: [1]}, "off: got 'layer 0'; wants a layer with experts: .1."),
        ({1: [9]}, "0 to 7"),
        ({1: [0, 1, 2, 3, 4, 5]}, "6 of 8 experts"),
    ):
        with pytest.raises(ValueError, match=message), experts_off(model, off):
            pass
    with pytest.raises(RuntimeError, match="inside"), experts_off(model, {1: [0]}):
        raise RuntimeError("inside")
    assert all("forward" not in vars(module) for module in model.modules())
    assert number_of_experts(find_layers(model)[0]) == 8
