"""Models behind wrappers: peft's adapters, torch.compile, DataParallel. What they hide is seen."""

import copy

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch import nn

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.modules import bare, plain_name
from moe_lib.tracing import experts_off, experts_per_token, largest_k, trace_generation, trained_k
from moe_lib.tracing.interventions.disabling import shared_experts_off, strongest_experts_off
from tests.tracing.families import IDS, build

EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
ROUTER = {"gpt_oss": "router.weight"}


def adapted(model: nn.Module, parameters=(), modules=(), rank: int = 2, started: bool = False):
    """The model with LoRA of peft, which changes nothing yet, or something if it has `started`."""
    config = LoraConfig(target_modules=list(modules), target_parameters=list(parameters), r=rank)
    wrapped = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if started and "lora_B" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
    return wrapped


def own(**changes) -> LanguageModel:
    torch.manual_seed(0)
    changes = {"causal": True, "initializer_range": 0.3, **changes}
    return LanguageModel(ModelConfig.preset("tiny", **changes)).eval()


def assert_same(trace, other) -> None:
    for one, two in zip(trace.layers, other.layers, strict=True):
        assert (one.name, one.index, one.n_experts) == (two.name, two.index, two.n_experts)
        assert (one.shared, one.n_shared, one.n_group) == (two.shared, two.n_shared, two.n_group)
        assert torch.equal(one.experts, two.experts)
        torch.testing.assert_close(one.weights, two.weights)
        torch.testing.assert_close(one.scores, two.scores)


@pytest.mark.parametrize("parameters", [EXPERTS, EXPERTS[1:], ["router"]], ids=len)
@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral", "deepseek_v2", "gpt_oss"])
def test_lora_on_experts_or_router_shows_the_trace_of_the_base(family, parameters):
    if parameters == ["router"]:
        parameters = [ROUTER.get(family, "gate.weight")]
    model = build(family)
    before, most, k = trace_routing(model, IDS), largest_k(model), trained_k(model)
    with experts_per_token(model, 2):
        with_two = trace_routing(model, IDS)
    layer = before.layers[-1].index
    with experts_off(model, {layer: [1, 2]}):
        without = trace_routing(model, IDS)
    wrapped = adapted(model, parameters)
    assert_same(trace_routing(wrapped, IDS), before)
    assert largest_k(wrapped) == most and trained_k(wrapped) == k
    with experts_per_token(wrapped, 2):
        assert_same(trace_routing(wrapped, IDS), with_two)
    with experts_off(wrapped, {layer: [1, 2]}):
        assert_same(trace_routing(wrapped, IDS), without)
    assert_same(trace_routing(wrapped, IDS), before)
    ids, trace = trace_generation(wrapped, IDS, 2, do_sample=False, eos_token_id=None)
    assert_same(trace_routing(wrapped, ids[:, :-1]), trace)


@pytest.mark.parametrize("rank", [2, 8])  # as large as the number of experts, too
def test_lora_that_has_learned_something_changes_what_is_traced(rank):
    model = build("dbrx")  # its router holds a Linear
    before = trace_routing(model, IDS)
    wrapped = adapted(model, modules=["router.layer"], rank=rank, started=True)
    after = trace_routing(wrapped, IDS)
    assert not torch.equal(after.layers[0].experts, before.layers[0].experts)
    with experts_off(wrapped, {0: [3, 4]}):
        off = trace_routing(wrapped, IDS).layers[0].experts
    kept = ~torch.isin(after.layers[0].experts, torch.tensor([3, 4])).any(-1)
    assert not torch.isin(off, torch.tensor([3, 4])).any() and bool(kept.any())
    assert torch.equal(off[kept], after.layers[0].experts[kept])


@pytest.mark.parametrize("kind", ["OptimizedModule", "compile()", "a part", "forward"])
@pytest.mark.parametrize("make", [own, lambda: build("qwen3_moe")], ids=["ours", "qwen3_moe"])
def test_a_compiled_model_is_traced_as_it_was_written(make, kind):
    model = make()
    before = trace_routing(model, IDS)
    given = model
    if kind == "OptimizedModule":
        given = torch.compile(model)
    elif kind == "compile()":
        model.compile()
    elif kind == "forward":
        model.forward = torch.compile(model.forward)
    else:
        layers = model.layers if isinstance(model, LanguageModel) else model.model.layers
        layers[-1] = torch.compile(layers[-1])
    if isinstance(model, LanguageModel) and kind == "a part":
        pytest.skip("our model reads attributes of its layers itself")
    assert_same(trace_routing(given, IDS), before)
    index = before.layers[-1].index
    with experts_off(given, {index: [0]}):
        assert not (trace_routing(given, IDS).layer(index).experts == 0).any()
    assert trained_k(given) == trained_k(model)


def test_peft_around_our_own_model():
    model = own(n_shared_experts=1)
    before, index = trace_routing(model, IDS), 1
    wrapped = adapted(model, modules=["o_proj"])
    assert_same(trace_routing(wrapped, IDS), before)
    assert largest_k(wrapped) == largest_k(bare(wrapped))
    for change in (
        experts_off(wrapped, {index: [0]}),
        experts_per_token(wrapped, 1),
        strongest_experts_off(wrapped, 1),
        shared_experts_off(wrapped),
    ):
        with change:
            changed = trace_routing(wrapped, IDS)
        assert not torch.equal(changed.layer(index).experts, before.layer(index).experts)
        assert_same(trace_routing(wrapped, IDS), before)
    ids, trace = trace_generation(wrapped, IDS, 2)
    assert_same(trace_routing(wrapped, ids[:, :-1]), trace)


def test_a_prefix_in_front_of_the_model_is_refused_by_its_kind():
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    wrapped = get_peft_model(build("qwen3_moe"), prefix)
    with pytest.raises(ValueError, match="model: got .*PREFIX_TUNING.*; wants an adapter that"):
        trace_routing(wrapped, IDS)


def test_bare_finds_the_module_behind_all_of_them():
    inner = nn.Linear(2, 2)
    assert bare(inner) is inner and bare(None) is None
    assert bare(torch.compile(nn.DataParallel(inner))) is inner
    model = build("mixtral")
    gate = model.model.layers[0].mlp.gate
    wrapped = adapted(model, ["gate.weight"])
    assert bare(wrapped) is model and bare(model.model.layers[0].mlp.gate) is gate
    assert bare(model.model.layers[0].mlp.gate, adapters=False) is not gate
    assert plain_name("layers.0._orig_mod.mlp.experts.base_layer.base_layer") == (
        "layers.0.mlp.experts"
    )


def test_a_change_of_k_that_does_nothing_is_noticed():
    model = build("mixtral")
    stubborn = copy.deepcopy(model)
    gate = stubborn.model.layers[1].mlp.gate
    gate.forward = lambda x, gate=gate: type(gate).forward(with_three(gate), x)
    with experts_per_token(model, 2):
        assert trace_routing(model, IDS).layer(1).experts.shape[-1] == 2
    with experts_per_token(stubborn, 2):
        with pytest.raises(ValueError, match="k: got 2; wants .* layer 1 still gives each token 3"):
            trace_routing(stubborn, IDS)


def with_three(gate: nn.Module) -> nn.Module:
    other = copy.copy(gate)
    other.top_k = 3
    return other
