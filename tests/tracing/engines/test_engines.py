"""Answers of serving engines, in the forms that their documentation gives, written by us."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from transformers import Qwen3MoeConfig

from moe_lib import ModelConfig, RoutingTrace

PROMPT, WRITTEN, LAYERS, K, E = 5, 3, 2, 2, 8
RANDOM = np.random.default_rng(0)


def routing(tokens: int, layers: int = LAYERS) -> np.ndarray:
    """(tokens, layers, k): two different experts each, counted by hand below."""
    return np.stack([[RANDOM.permutation(E)[:K] for _ in range(layers)] for _ in range(tokens)])


WHOLE = routing(PROMPT + WRITTEN)
IDS = list(range(100, 100 + PROMPT + WRITTEN))
PROMPT_ROUTING = WHOLE[:PROMPT].tolist()


def raw(numbers: np.ndarray, kind: str) -> str:
    return base64.b64encode(numbers.astype(kind).tobytes()).decode()


def npy(numbers: np.ndarray) -> str:
    file = io.BytesIO()
    np.save(file, numbers.astype(np.int16))
    return base64.b64encode(file.getvalue()).decode()


def vllm(own, prompt=PROMPT_ROUTING, **choice) -> dict:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "…", "routed_experts": own, **choice}],
        "prompt_routed_experts": prompt,
    }


def native(numbers: np.ndarray, **meta) -> dict:
    return {
        "text": "…",
        "output_ids": IDS[PROMPT:],
        "meta_info": {
            "prompt_tokens": PROMPT,
            "completion_tokens": WRITTEN,
            "routed_experts": raw(numbers, "<i4"),
            **meta,
        },
    }


def experts_of(trace: RoutingTrace) -> np.ndarray:
    return torch.stack([layer.experts[0] for layer in trace.layers], 1).numpy()


# vLLM

WAYS = {
    "nested lists": lambda a: a.tolist(),
    "base64 of a .npy": npy,
    "data and shape": lambda a: {"data": raw(a, "<i2"), "shape": list(a.shape)},
    "with its dtype": lambda a: {"data": raw(a, "<i4"), "shape": list(a.shape), "dtype": "int32"},
    "array": lambda a: a,
}


@pytest.mark.parametrize("way", WAYS)
def test_vllm_prompt_and_completion_are_joined(way):
    answer = vllm(WAYS[way](WHOLE[PROMPT:]), WAYS[way](WHOLE[:PROMPT]))
    trace = RoutingTrace.from_vllm(answer, n_experts=E)
    assert (experts_of(trace) == WHOLE).all()
    assert [layer.index for layer in trace.layers] == [0, 1]
    assert all(layer.n_experts == E and layer.weights is None for layer in trace.layers)
    assert trace.input_ids.tolist() == [[-1] * 8] and trace.real.all()
    by_hand = np.bincount(WHOLE[:, 1].ravel(), minlength=E)
    assert trace.load(1).tolist() == by_hand.tolist()


def test_vllm_bare_base64_needs_the_outline():
    answer = vllm(raw(WHOLE[PROMPT:], "<i2"), raw(WHOLE[:PROMPT], "<i2"))
    with pytest.raises(ValueError, match="n_layers and k"):
        RoutingTrace.from_vllm(answer)
    trace = RoutingTrace.from_vllm(answer, n_layers=LAYERS, k=K)
    assert (experts_of(trace) == WHOLE).all()


def test_vllm_whole_sequence_in_one_array_without_the_last_token():
    answer = vllm(npy(WHOLE[:-1]), None, token_ids=IDS[PROMPT:])
    answer["prompt_token_ids"] = IDS[:PROMPT]
    trace = RoutingTrace.from_vllm(answer)
    assert trace.input_ids.tolist() == [IDS]
    assert (experts_of(trace)[:-1] == WHOLE[:-1]).all()
    assert not trace.layers[0].chosen[0, -1].any() and trace.layers[0].chosen[0, :-1].all()
    assert int(trace.load(0).sum()) == (PROMPT + WRITTEN - 1) * K


def test_vllm_every_choice_is_a_text_and_several_answers_are_one_batch(tmp_path):
    first = vllm(WHOLE[PROMPT:].tolist())
    second = vllm(WHOLE[PROMPT:7].tolist(), WHOLE[:3].tolist())
    first["choices"] *= 2
    together = RoutingTrace.from_vllm([first, second])
    assert together.input_ids.shape == (3, 8) and together.real.sum(1).tolist() == [8, 8, 5]
    assert (together.layers[0].experts[2, :5] == torch.tensor(WHOLE[[0, 1, 2, 5, 6], 0])).all()
    lines = tmp_path / "answers.jsonl"
    lines.write_text(f"{json.dumps(first)}\n\n{json.dumps(second)}\n")
    whole = tmp_path / "answers.json"
    whole.write_text(json.dumps([first, second]))
    for form in (lines, str(lines), whole, json.dumps([first, second])):
        again = RoutingTrace.from_vllm(form)
        assert torch.equal(again.layers[1].experts, together.layers[1].experts)


def test_vllm_one_token_was_written_and_never_read():
    answer = vllm([], token_ids=IDS[PROMPT : PROMPT + 1])
    answer["prompt_token_ids"] = IDS[:PROMPT]
    trace = RoutingTrace.from_vllm(answer)
    assert trace.input_ids.tolist() == [IDS[: PROMPT + 1]]
    assert (experts_of(trace)[:PROMPT] == WHOLE[:PROMPT]).all()
    assert int(trace.load(0).sum()) == PROMPT * K


def test_vllm_object_of_generate():
    class Output:
        token_ids, routed_experts, text = IDS[PROMPT:], WHOLE[:-1].astype(np.int16), "…"

    class Request:
        prompt_token_ids, prompt_routed_experts, outputs = IDS[:PROMPT], None, [Output]

    trace = RoutingTrace.from_vllm([Request])
    assert trace.input_ids.tolist() == [IDS]


# SGLang


def test_sglang_flat_numbers_without_the_last_token():
    trace = RoutingTrace.from_sglang(native(WHOLE[:-1]), n_layers=LAYERS, k=K)
    assert (experts_of(trace)[:-1] == WHOLE[:-1]).all()
    assert trace.input_ids.tolist() == [[-1] * PROMPT + IDS[PROMPT:]]
    assert not trace.layers[0].chosen[0, -1].any()


def test_sglang_k_follows_from_the_number_of_tokens():
    trace = RoutingTrace.from_sglang(native(WHOLE[:-1]), n_layers=LAYERS)
    assert (experts_of(trace)[:-1] == WHOLE[:-1]).all()


def test_sglang_from_a_position_on():
    later = native(WHOLE[2:-1], routed_experts_start_len=2)
    trace = RoutingTrace.from_sglang(later, LAYERS, K)
    assert trace.input_ids.tolist() == [[-1] * 3 + IDS[PROMPT:]]


def test_sglang_openai_compatible():
    extension = {"routed_experts": raw(WHOLE[:-1], "<i4")}
    usage = {"prompt_tokens": PROMPT, "completion_tokens": WRITTEN}
    choice = {"index": 0, "message": {"content": "…"}, "sgl_ext": extension}
    for answer in (
        {"choices": [choice], "usage": usage},
        {"choices": [{"index": 0}], "usage": usage, "sgl_ext": extension},
    ):
        trace = RoutingTrace.from_sglang(answer, LAYERS)
        assert (experts_of(trace)[:-1] == WHOLE[:-1]).all()


def test_sglang_token_ids_out_of_log_probabilities():
    entries = [[-0.5, token, None] for token in IDS]
    meta = {"input_token_logprobs": entries[:PROMPT], "output_token_logprobs": entries[PROMPT:]}
    answer = native(WHOLE[:-1], **meta)
    del answer["output_ids"]
    assert RoutingTrace.from_sglang(answer, LAYERS, K).input_ids.tolist() == [IDS]


# The model behind it


def test_layer_numbers_of_a_config():
    tiny = dict(hidden_size=16, num_attention_heads=2, num_key_value_heads=1, vocab_size=200)
    config = Qwen3MoeConfig(
        num_hidden_layers=4,
        mlp_only_layers=[0, 2],
        num_experts=E,
        num_experts_per_tok=K,
        moe_intermediate_size=8,
        intermediate_size=8,
        head_dim=8,
        **tiny,
    )
    for form in (config, config.to_dict()):
        trace = RoutingTrace.from_vllm(vllm(WHOLE[PROMPT:].tolist()), config=form)
        assert [layer.index for layer in trace.layers] == [1, 3] and trace.n_layers == 4
        assert trace.layers[0].n_experts == E and trace.layers[0].name == "model.layers.1.mlp"
    with pytest.raises(ValueError, match=r"3 layers of routing.; wants 2"):
        RoutingTrace.from_arrays(routing(4, 3), config=config)
    trace = RoutingTrace.from_sglang(native(WHOLE[:-1]), config=config)
    assert (experts_of(trace)[:-1] == WHOLE[:-1]).all()


def test_our_own_config_and_folder(tmp_path):
    config = ModelConfig.preset("tiny", num_hidden_layers=3, first_k_dense_replace=1)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    experts = routing(6) % config.n_routed_experts
    experts[..., 1] = (experts[..., 0] + 1) % config.n_routed_experts
    for form in (config, tmp_path, str(tmp_path)):
        trace = RoutingTrace.from_arrays(experts, config=form)
        assert [layer.index for layer in trace.layers] == [1, 2] and trace.n_layers == 3


def test_arrays_with_weights_and_domains():
    weights = RANDOM.random((2, *WHOLE.shape)).astype(np.float32)
    trace = RoutingTrace.from_arrays(
        np.stack([WHOLE, WHOLE]), [IDS, IDS], weights=weights, layers=[3, 9], domains=["a", "b"]
    )
    assert torch.equal(trace.layers[1].weights[1], torch.from_numpy(weights[1, :, 1]))
    frame = trace.filter(domains="b").to_pandas()
    assert len(frame) == 8 * LAYERS * K and set(frame["layer"]) == {3, 9}
    assert RoutingTrace.from_arrays(WHOLE).to_pandas()["weight"].isna().all()


# What is wrong is named

CUT = npy(WHOLE[PROMPT:])[:-8]
TWICE = WHOLE.copy()
TWICE[2, 1] = 4
WRONG = {
    "no routing": (vllm(None), "enable-return-routed-experts"),
    "no choices": ({"id": 1}, "choices"),
    "an error": ({"error": {"message": "overloaded"}}, "overloaded"),
    "half a file": (json.dumps(vllm([[[0, 1]]]))[:-9], "not valid JSON"),
    "half an array": (vllm(CUT, None), r"choices\[0\] routed_experts"),
    "not base64": (vllm("äöü", None), "base64"),
    "negative": (vllm((WHOLE[PROMPT:] - 9).tolist()), "experts of text 0"),
    "fractions": (vllm((WHOLE[PROMPT:] + 0.5).tolist()), "whole numbers"),
    "ragged": (vllm([[[1, 2]], [[1]]]), "rows of different lengths"),
    "other layers": (vllm(routing(3, 1).tolist()), "layers and k of the prompt"),
    "tokens": (vllm(WHOLE[PROMPT:].tolist(), token_ids=[1]), "one row per token written"),
    "texts as tokens": (vllm(WHOLE[PROMPT:].tolist(), token_ids=["a"]), "token_ids"),
    "an expert twice": (vllm(TWICE.tolist(), None), "2 different experts"),
    "empty": ([], "empty list"),
    "a number": (3, "an answer of vLLM"),
    "a wrong shape": (vllm({"data": raw(WHOLE, "<i2"), "shape": [1, 2, 3]}, None), "1 × 2 × 3"),
    "no shape": (vllm({"data": "AAAA"}, None), '"shape"'),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_of_vllm(name):
    answer, said = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=said) as caught:
        RoutingTrace.from_vllm(answer)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_an_expert_that_the_model_does_not_have():
    with pytest.raises(ValueError, match=r"experts from 0 to 3 in layer \d"):
        RoutingTrace.from_arrays(WHOLE, n_experts=4)
    with pytest.raises(ValueError, match="input_ids: got .3 tokens.; wants as many"):
        RoutingTrace.from_arrays(WHOLE, IDS[:3])
    with pytest.raises(ValueError, match="rising numbers"):
        RoutingTrace.from_arrays(WHOLE, layers=[2, 1])
    with pytest.raises(FileNotFoundError, match="no such file"):
        RoutingTrace.from_vllm("nothing_here.json")


@pytest.mark.parametrize(
    "answer, said",
    [
        (native(WHOLE[:-1], routed_experts=None), "return_routed_experts"),
        (native(WHOLE[:4]), "rows.; wants 7"),
        (native(WHOLE[:-1], routed_experts="AAAA"), "bytes"),
        (native(WHOLE[:-1], routed_experts_start_len=-1), "routed_experts_start_len"),
        (native(WHOLE[:-1], prompt_tokens="5"), "prompt_tokens"),
    ],
)
def test_wrong_answers_of_sglang(answer, said):
    with pytest.raises(ValueError, match=said):
        RoutingTrace.from_sglang(answer, LAYERS, K)
    with pytest.raises(ValueError, match="n_layers"):
        RoutingTrace.from_sglang(native(WHOLE[:-1]))
