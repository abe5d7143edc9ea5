"""RoutingTrace as a record: frame, files, joining, filtering, columns without a choice."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.tracing import LayerTrace, RoutingTrace, join_traces, load_trace

IDS = torch.randint(0, 30, (3, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4])


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
    )


@pytest.fixture(scope="module")
def trace(model):
    return replace(trace_routing(model, IDS, MASK), domains=("code", "prose", "code"))


def equal(a: RoutingTrace, b: RoutingTrace) -> bool:
    def parts(trace):
        layers = [
            (p.name, p.index, p.n_experts, p.shared)
            for p in (*trace.layers, *trace.attention_layers)
        ]
        tensors = [trace.input_ids, trace.real]
        for layer in (*trace.layers, *trace.attention_layers):
            tensors += layer.tensors().values()
        return (layers, trace.domains, trace.n_layers), tensors

    (names_a, tensors_a), (names_b, tensors_b) = parts(a), parts(b)
    return (
        names_a == names_b
        and len(tensors_a) == len(tensors_b)
        and all(map(torch.equal, tensors_a, tensors_b))
    )


def by_hand() -> RoutingTrace:
    """Two texts of two tokens, three experts; the second column of one token holds no choice, one
    pair is dropped."""
    experts = torch.tensor([[[0, 1], [2, 0]], [[1, 0], [1, 2]]])
    chosen = torch.tensor([[[True, False], [True, True]], [[True, True], [True, True]]])
    kept = torch.tensor([[[True, False], [False, True]], [[True, True], [True, True]]])
    layer = LayerTrace(
        "layers.4.mlp",
        4,
        3,
        experts,
        torch.full((2, 2, 2), 0.5),
        torch.full((2, 2, 3), 1 / 3),
        kept,
        chosen,
    )
    real = torch.tensor([[True, True], [True, False]])
    return RoutingTrace([layer], torch.tensor([[7, 8], [9, 9]]), real, ("a", "b"))


def test_loads_count_choices_of_real_tokens_only():
    assert by_hand().load(4).tolist() == [3, 1, 1]
    whole = replace(by_hand(), real=torch.ones(2, 2, dtype=torch.bool))
    assert whole.load(4).tolist() == [3, 2, 2]


def test_frame_has_one_row_per_choice():
    frame = by_hand().to_pandas()
    assert frame.columns.tolist() == [
        "layer",
        "name",
        "text",
        "position",
        "token_id",
        "rank",
        "expert",
        "weight",
        "kept",
        "domain",
    ]
    rows = frame[
        ["text", "position", "token_id", "rank", "expert", "kept", "domain"]
    ].values.tolist()
    assert rows == [
        [0, 0, 7, 1, 0, True, "a"],
        [0, 1, 8, 1, 2, False, "a"],
        [0, 1, 8, 2, 0, True, "a"],
        [1, 0, 9, 1, 1, True, "b"],
        [1, 0, 9, 2, 0, True, "b"],
    ]


def test_frame_agrees_with_loads(trace):
    frame = trace.to_pandas()
    for index in (1, 2):
        counts = frame[frame.layer == index].expert.value_counts().reindex(range(5), fill_value=0)
        assert counts.tolist() == trace.load(index).tolist()
    assert len(frame) == 2 * 2 * int(MASK.sum()) and frame.kept.all()


def test_frame_spells_tokens():
    class Tokenizer:
        def decode(self, ids):
            return f"<{ids[0]}>"

    assert by_hand().to_pandas(Tokenizer()).token.tolist() == ["<7>", "<8>", "<8>", "<9>", "<9>"]


@pytest.mark.parametrize("name", ["folder", "file.safetensors"])
def test_saved_and_loaded_it_is_the_same(trace, tmp_path, name):
    with_attention = replace(trace, attention_layers=(replace(trace.layers[0], shared=True),))
    for number, whole in enumerate((trace, by_hand(), with_attention)):
        path = tmp_path / str(number) / name
        written = whole.save(path)
        assert written.is_file() and written.suffix == ".safetensors"
        assert equal(load_trace(path), whole) and equal(load_trace(written), whole)


def test_damaged_files_are_named(trace, tmp_path):
    with pytest.raises(FileNotFoundError, match="trace.safetensors"):
        load_trace(tmp_path / "nothing")
    path = trace.save(tmp_path / "t.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="t.safetensors"):
        load_trace(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a routing trace"):
        load_trace(path)
    entry = {"name": "x", "index": 0, "n_experts": 2, "shared": False}
    header = {"domains": None, "n_layers": 1, "layers": [entry], "attention_layers": []}
    tensors = {
        "input_ids": torch.zeros(1, 2, dtype=torch.long),
        "real": torch.ones(1, 2, dtype=torch.bool),
        "layers.0.experts": torch.full((1, 2, 1), 5),
        "layers.0.weights": torch.ones(1, 2, 1),
        "layers.0.scores": torch.ones(1, 2, 2),
    }
    metadata = {"format": "moe_lib routing trace 1", "trace": json.dumps(header)}
    save_file(tensors, path, metadata)
    with pytest.raises(
        ValueError, match="t.safetensors: not a whole.*x experts: got '5 to 5'; wants 0 to 1"
    ):
        load_trace(path)
    del tensors["layers.0.weights"]
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="t.safetensors: not a whole"):
        load_trace(path)


def test_joined_texts_keep_their_routing(model):
    parts = [
        replace(trace_routing(model, IDS[i : i + 1, : 6 - 2 * i]), domains=(str(i),))
        for i in range(3)
    ]
    whole = parts[0].join(*parts[1:])
    assert whole.input_ids.shape == (3, 6) and whole.domains == ("0", "1", "2")
    assert torch.equal(whole.real, MASK.bool())
    assert torch.equal(whole.loads(), sum(part.loads() for part in parts))
    assert whole.to_pandas().weight.sum() == pytest.approx(
        sum(part.to_pandas().weight.sum() for part in parts)
    )
    assert equal(join_traces([whole]), whole)


def test_traces_of_another_model_or_half_named_do_not_join(model, trace):
    with pytest.raises(ValueError, match="^traces: got .*layers.4.mlp"):
        trace.join(by_hand())
    with pytest.raises(ValueError, match="^traces: got 'domains in some"):
        trace.join(replace(trace, domains=None))
    with pytest.raises(ValueError, match="^traces"):
        join_traces([])


def test_a_part_without_capacity_joins_one_with():
    plain = replace(by_hand(), layers=[replace(by_hand().layers[0], kept=None, chosen=None)])
    whole = by_hand().join(plain)
    assert whole.layers[0].kept[2:].all() and whole.layers[0].chosen[2:].all()
    assert torch.equal(whole.load(4), by_hand().load(4) + plain.load(4))


def test_filter_by_domain_layer_and_token(trace):
    code = trace.filter(domains="code")
    assert code.domains == ("code", "code") and torch.equal(code.input_ids, IDS[[0, 2]])
    assert torch.equal(trace.load(1), code.load(1) + trace.filter(domains=["prose"]).load(1))
    prose = trace.filter(domains={"prose"}, layers=[2])
    assert [layer.index for layer in prose.layers] == [2] and prose.input_ids.shape == (1, 4)
    first = trace.filter(tokens=torch.arange(6) < torch.ones(3, 1))
    assert first.input_ids.shape == (3, 1) and first.load(1).sum() == 3 * 2
    assert equal(trace.filter(), trace)
    with pytest.raises(ValueError, match="domains: got .'poems'."):
        trace.filter(domains="poems")
    with pytest.raises(ValueError, match="index: got 0"):
        trace.filter(layers=[0])
    with pytest.raises(ValueError, match="tokens: got .3, 2."):
        trace.filter(tokens=torch.ones(3, 2))
    with pytest.raises(ValueError, match="domains: got '1 names'"):
        replace(trace, domains=("x",))


def test_our_own_routers_that_choose_different_numbers():
    torch.manual_seed(0)
    model = LanguageModel(
        ModelConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            causal=False,
            n_routed_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=8,
            first_k_dense_replace=0,
            max_position_embeddings=16,
            initializer_range=0.3,
            router="expert_choice",
        )
    )
    trace = trace_routing(model, IDS)
    with torch.no_grad():
        routing = model.eval()(IDS).routing[0]
    assert torch.equal(trace.load(0), routing.load()) and not trace.layers[0].chosen.all()
    assert len(set(trace.load(0).tolist())) == 1  # each expert takes the same number of tokens
