"""Capture on Hugging Face models: padding, steps of generation, hooks, modes, devices, refusals."""

import copy

import pytest
import torch
from torch import nn

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.tracing import trace_generation
from moe_lib.tracing.traced_inputs import input_device
from moe_lib.tracing.watching import watching
from tests.tracing.families import IDS, build

LEFT = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])


@pytest.fixture(scope="module")
def mixtral():
    return build("mixtral")


def n_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_padding_takes_no_part_in_counts(mixtral):
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    trace, alone = trace_routing(mixtral, IDS, mask), trace_routing(mixtral, IDS[1:, :4])
    whole = trace_routing(mixtral, IDS[:1])
    for index in (0, 1):
        assert torch.equal(trace.load(index), whole.load(index) + alone.load(index))
        assert torch.equal(trace.layer(index).experts[1, :4], alone.layer(index).experts[0])
    assert len(trace.to_pandas()) == 2 * 3 * 11


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v2", "gpt_oss", "jamba"])
def test_generation_steps_join_to_what_one_pass_over_the_text_gives(family):
    model = build(family)
    ids, trace = trace_generation(model, IDS, 5, do_sample=False, eos_token_id=None)
    assert (
        ids.shape == (2, 12)
        and torch.equal(ids[:, :7], IDS)
        and torch.equal(trace.input_ids, ids[:, :-1])
    )
    again = trace_routing(model, ids[:, :-1])
    for step, whole in zip(trace.layers, again.layers, strict=True):
        assert (step.name, step.index) == (whole.name, whole.index)
        assert torch.equal(step.experts, whole.experts)
        torch.testing.assert_close(step.weights, whole.weights, rtol=1e-4, atol=1e-5)


def test_generation_of_our_own_model_joins_too():
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig.preset("tiny", causal=True, initializer_range=0.3)).train()
    ids, trace = trace_generation(model, IDS, 5, attention_mask=LEFT)
    mask = torch.cat((LEFT, torch.ones(2, 4, dtype=torch.long)), 1)
    again = trace_routing(model, ids[:, :-1], mask)
    assert torch.equal(trace.real, mask.bool()) and model.training
    for step, whole in zip(trace.layers, again.layers, strict=True):
        assert torch.equal(step.experts[trace.real], whole.experts[trace.real])


def test_what_follows_the_end_token_is_padding(mixtral):
    free, _ = trace_generation(mixtral, IDS, 6, do_sample=False, eos_token_id=None)
    stop = int(free[0, 8])  # the second token that the first text writes
    ids, trace = trace_generation(
        mixtral, IDS, 6, do_sample=False, eos_token_id=stop, pad_token_id=0
    )
    for row in range(2):
        written = ids[row, 7:].tolist()
        end = written.index(stop) + 1 if stop in written else len(written)
        assert (
            trace.real[row, 7:].tolist()
            == ([True] * end + [False] * len(written))[: len(written) - 1]
        )
    assert not trace.real.all()


def test_generation_refuses_what_routes_a_token_twice(mixtral):
    for options in ({"num_beams": 2}, {"num_return_sequences": 2}, {"use_cache": False}):
        with pytest.raises(ValueError, match=f"^{next(iter(options))}"):
            trace_generation(mixtral, IDS, 2, **options)
    with pytest.raises(ValueError, match="encoder-decoder"):
        trace_generation(build("switch_transformers"), IDS, 2)


def _out_of_memory(module, args):
    raise MemoryError


def test_hooks_and_modes_are_left_as_they_were():
    model = build("deepseek_v3")
    trace_routing(model, IDS)  # transformers may install lasting hooks of its own at the first call
    model.train()
    model.model.layers[0].eval()
    modes, hooks = [m.training for m in model.modules()], n_hooks(model)
    trace_routing(model, IDS)
    assert [m.training for m in model.modules()] == modes and n_hooks(model) == hooks
    for layer in (model.model.layers[1].mlp, model.lm_head):
        handle = layer.register_forward_pre_hook(_out_of_memory)
        with pytest.raises(MemoryError):  # in the middle of the forward pass
            trace_routing(model, IDS)
        handle.remove()
    assert [m.training for m in model.modules()] == modes and n_hooks(model) == hooks
    with pytest.raises(RuntimeError, match="inside"), watching(model):
        raise RuntimeError("inside")
    assert n_hooks(model) == hooks


def test_a_router_and_experts_that_disagree_are_refused(mixtral):
    block = mixtral.model.layers[1].mlp
    handle = block.experts.register_forward_pre_hook(
        lambda m, args: (args[0], args[1].flip(-1), args[2])
    )
    try:
        with pytest.raises(ValueError, match="layers.1.mlp: a router that chose other experts"):
            trace_routing(mixtral, IDS)
    finally:
        handle.remove()
    assert trace_routing(mixtral, IDS).layers


class NeverCalled(nn.Module):
    """A model that has experts and runs none of them."""

    def __init__(self, whole):
        super().__init__()
        self.whole, self.config = whole, whole.config

    def forward(self, input_ids, attention_mask=None):
        return self.whole.model.embed_tokens(input_ids)


def test_refusals_name_the_class(mixtral):
    from transformers import LlamaConfig, LlamaForCausalLM

    dense = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    with pytest.raises(
        ValueError, match="model: got 'LlamaForCausalLM'; wants a model with experts"
    ):
        trace_routing(dense, IDS)
    with pytest.raises(ValueError, match="NeverCalled, none of whose 2 MoE layers was called"):
        trace_routing(NeverCalled(mixtral), IDS)
    with pytest.raises(TypeError, match="model: got 'Linear'"):
        trace_routing(nn.Linear(2, 2), IDS)
    with pytest.raises(TypeError, match="input_ids: got torch.float32"):
        trace_routing(mixtral, IDS.float())
    with pytest.raises(ValueError, match="input_ids: got .7,."):
        trace_routing(mixtral, IDS[0])
    with pytest.raises(ValueError, match="attention_mask: got .2, 3."):
        trace_routing(mixtral, IDS, LEFT[:, :3])


class TwoCalls(NeverCalled):
    def forward(self, input_ids, attention_mask=None):
        self.whole(input_ids)
        return self.whole(input_ids)


def test_layers_that_run_twice_are_refused(mixtral):
    with pytest.raises(ValueError, match="28 tokens routed"):
        trace_routing(TwoCalls(mixtral), IDS)


def test_inputs_go_where_the_embedding_is(mixtral):
    assert input_device(mixtral).type == "cpu"
    with torch.device("meta"):
        offloaded = build("mixtral")
    assert input_device(offloaded).type == "cpu"
    offloaded.lm_head.to_empty(device="cpu")
    assert input_device(offloaded).type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_two_devices_gives_the_trace_of_one(mixtral):
    before = trace_routing(mixtral, IDS)
    spread = build("mixtral")

    def move(module, args, kwargs):  # what accelerate's hooks do
        put = lambda value: value.cuda() if isinstance(value, torch.Tensor) else value  # noqa: E731
        return tuple(map(put, args)), {
            n: tuple(map(put, v)) if isinstance(v, tuple) else put(v) for n, v in kwargs.items()
        }

    spread.model.layers[1].cuda().register_forward_pre_hook(move, with_kwargs=True)
    spread.model.norm.cuda()
    spread.lm_head.cuda()
    after = trace_routing(spread, IDS)
    assert all(t.device.type == "cpu" for layer in after.layers for t in layer.tensors().values())
    for a, b in zip(before.layers, after.layers, strict=True):
        assert torch.equal(a.experts, b.experts)


def test_settings_of_the_model_itself_are_refused_by_their_name(mixtral):
    model = copy.deepcopy(mixtral)
    for name, value in (("num_beams", 3), ("num_return_sequences", 2), ("penalty_alpha", 0.6)):
        before = getattr(model.generation_config, name)
        setattr(model.generation_config, name, value)
        with pytest.raises(ValueError, match=f"^{name}: got {value}; wants .* read once"):
            trace_generation(model, IDS, 2)
        with pytest.raises(ValueError, match=f"^{name}: got {value}"):
            settings = copy.deepcopy(model.generation_config)
            trace_generation(mixtral, IDS, 2, generation_config=settings)
        setattr(model.generation_config, name, before)
    model.generation_config.num_beams = 3
    ids, _ = trace_generation(model, IDS, 2, num_beams=1, do_sample=False)  # said otherwise here
    assert ids.shape[1] <= IDS.shape[1] + 2


@pytest.mark.parametrize(
    "form", [int, torch.tensor, lambda i: torch.tensor([i, 63]), lambda i: [i]]
)
def test_end_tokens_in_every_form(mixtral, form):
    free, _ = trace_generation(mixtral, IDS, 4, do_sample=False, eos_token_id=None)
    end = int(free[0, 8])
    ids, trace = trace_generation(mixtral, IDS, 4, do_sample=False, eos_token_id=form(end))
    first = (ids[0, 7:] == end).nonzero()[0, 0]
    assert trace.real[0, : 7 + first].all() and not trace.real[0, 8 + first :].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["dbrx", "mixtral", "qwen3_moe"])
def test_half_precision_models_with_their_ties_are_traced(family, dtype):
    model = build(family).to(dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "router" in name or "gate.weight" in name:
                weight[1] = weight[0]  # two experts that no token can tell apart
    trace = trace_routing(model, IDS)
    assert all(layer.weights.dtype == torch.float32 for layer in trace.layers)


def test_a_model_that_gives_nan_is_refused_by_its_layer():
    model = build("mixtral")
    with torch.no_grad():
        model.model.layers[1].mlp.gate.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="^model: got 'NaN .* model.layers.1.mlp'; wants"):
        trace_routing(model, IDS)
    model = build("mixtral")
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    assert trace_routing(model, IDS).layers  # its routing is in order
