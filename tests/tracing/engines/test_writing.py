"""Our routing in the fields of vLLM and SGLang, and back."""

import json

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, RoutingTrace
from moe_lib.tracing import to_sglang, to_vllm, trace_generation, trace_routing


@pytest.fixture(scope="module")
def written():
    """(model, ids, trace, n_prompt) of two prompts of four tokens and what follows them."""
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny", vocab_size=64, causal=True)
    model = LanguageModel(config).eval()
    prompts = torch.randint(3, 64, (2, 4), generator=torch.Generator().manual_seed(0))
    return model, *trace_generation(model, prompts, 5), 4


def back(engine: str, answers, config) -> RoutingTrace:
    read = RoutingTrace.from_vllm if engine == "vllm" else RoutingTrace.from_sglang
    answers = [json.loads(json.dumps(one)) for one in answers]
    return read(answers, config=config, k=config.num_experts_per_tok)


@pytest.mark.parametrize("engine, write", [("vllm", to_vllm), ("sglang", to_sglang)])
def test_there_and_back(engine, write, written):
    model, ids, trace, n_prompt = written
    answers = write(trace, ids, n_prompt)
    found = back(engine, answers, model.config)
    assert [layer.index for layer in found.layers] == [layer.index for layer in trace.layers]
    for one, other in zip(found.layers, trace.layers, strict=True):
        assert torch.equal(one.experts[:, :-1], other.experts) and one.n_experts == other.n_experts
    assert torch.equal(found.input_ids[:, :-1], trace.input_ids) and torch.equal(
        found.input_ids, ids
    )
    assert write(found, None, n_prompt) == answers  # and once more
    tokens = answers[0]["choices"][0]["token_ids"] if engine == "vllm" else answers[0]["output_ids"]
    assert tokens == ids[0, 4:].tolist()


@pytest.mark.parametrize("engine, write", [("vllm", to_vllm), ("sglang", to_sglang)])
def test_padding_is_left_out(engine, write, written):
    model, ids, _, _ = written
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    trace = trace_routing(model, ids, mask)
    found = back(engine, write(trace), model.config)
    assert torch.equal(found.real, mask.bool())
    experts = [layer.experts[mask.bool()] for layer in trace.layers]
    for one, other in zip(found.layers, experts, strict=True):
        assert torch.equal(one.experts[found.real], other)


def test_what_engines_have_no_field_for(written):
    _, ids, trace, _ = written
    with pytest.raises(ValueError, match="^n_prompt: got 99"):
        to_vllm(trace, ids, 99)
    with pytest.raises(ValueError, match="^ids: got .other tokens"):
        to_sglang(trace, ids.flip(1))
    with pytest.raises(ValueError, match="^ids: got .2, 3."):
        to_vllm(trace, ids[:, :3])
