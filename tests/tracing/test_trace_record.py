"""RoutingTrace as a record: frame, files, joining, filtering, columns without a choice."""

import copy
import json
import os
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
    words = "x experts: got 'an entry of 5'; wants entries from 0 to 1"
    with pytest.raises(ValueError, match=f"t.safetensors: not a whole.*{words}"):
        load_trace(path)
    del tensors["layers.0.weights"]
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="t.safetensors: not a whole"):
        load_trace(path)


def write_changed(path, header=(), entry=(), tensors=()) -> None:
    """A trace file that is right but for these fields of its header, its layer, its tensors."""
    facts = {"name": "x", "index": 0, "n_experts": 2, "shared": False, **dict(entry)}
    whole = {"domains": None, "n_layers": 1, "layers": [facts], "attention_layers": []}
    parts = {
        "input_ids": torch.zeros(1, 2, dtype=torch.long),
        "real": torch.ones(1, 2, dtype=torch.bool),
        "layers.0.experts": torch.zeros(1, 2, 1, dtype=torch.int32),
        "layers.0.weights": torch.ones(1, 2, 1),
        "layers.0.scores": torch.ones(1, 2, 2),
        **dict(tensors),
    }
    text = header if isinstance(header, str) else json.dumps({**whole, **dict(header)})
    save_file(parts, path, {"format": "moe_lib routing trace 1", "trace": text})


WRONG_FILES = {
    "index infinite": (dict(entry={"index": float("inf")}), "index: got inf"),
    "index negative": (dict(entry={"index": -1}), "index: got -1"),
    "index a text": (dict(entry={"index": "0"}), "index: got '0'"),
    "n_experts true": (dict(entry={"n_experts": True}), "n_experts: got True"),
    "n_experts huge": (dict(entry={"n_experts": 10**18}), "x scores: got .1, 2, 2."),
    "shared a number": (dict(entry={"shared": 1}), "shared: got 1"),
    "name a number": (dict(entry={"name": 3}), "name: got 3"),
    "n_group a float": (dict(entry={"n_group": 2.0}), "n_group: got 2.0"),
    "another field": (dict(entry={"other": 2}), "other"),
    "domains a text": (dict(header={"domains": "a"}), "domains: got 'a'"),
    "domains of numbers": (dict(header={"domains": [3]}), "domains.0.: got 3"),
    "domains too many": (dict(header={"domains": ["a", "b"]}), "domains: got '2 names'"),
    "n_layers a text": (dict(header={"n_layers": "1"}), "n_layers: got '1'"),
    "layers a number": (dict(header={"layers": 3}), "layers: got 3"),
    "no layers": (dict(header={"layers": None}), "layers: got None"),
    "layer a text": (dict(header={"layers": ["x"]}), "layers.0.: got 'x'"),
    "deep": (dict(header="[" * 100_000), "recursion"),
    "cut": (dict(header='{"domains": null'), "Expecting"),
    "empty": (dict(header="{}"), "domains"),
    "a list": (dict(header="[]"), "trace: got .."),
    "ids of floats": (dict(tensors={"input_ids": torch.zeros(1, 2)}), "input_ids: got torch.f"),
    "ids negative": (
        dict(tensors={"input_ids": torch.full((1, 2), -1)}),
        "input_ids: got 'an entry of -1'",
    ),
    "real of numbers": (dict(tensors={"real": torch.ones(1, 2)}), "real: got torch.float32"),
    "real of another shape": (
        dict(tensors={"real": torch.ones(1, 3, dtype=torch.bool)}),
        "real: got .1, 3.",
    ),
    "experts of floats": (
        dict(tensors={"layers.0.experts": torch.zeros(1, 2, 1)}),
        "x experts: got torch.float32",
    ),
    "weights of numbers": (
        dict(tensors={"layers.0.weights": torch.ones(1, 2, 1, dtype=torch.int32)}),
        "x weights: got torch.int32",
    ),
    "weights NaN": (
        dict(tensors={"layers.0.weights": torch.full((1, 2, 1), torch.nan)}),
        "x weights: got '2 entries that are NaN",
    ),
    "kept of numbers": (
        dict(tensors={"layers.0.kept": torch.ones(1, 2, 1)}),
        "x kept: got torch.float32",
    ),
    "another tensor": (dict(tensors={"layers.0.other": torch.ones(1, 2, 1)}), "other"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
def test_a_wrong_field_of_a_file_is_named_with_the_file(what, tmp_path):
    changes, words = WRONG_FILES[what]
    path = tmp_path / "t.safetensors"
    write_changed(path)
    assert load_trace(path).layers[0].name == "x"
    write_changed(path, **changes)
    with pytest.raises(ValueError, match=f"{path}: not a whole routing trace .*{words}"):
        load_trace(path)


def test_files_that_are_none_are_named(tmp_path):
    path = tmp_path / "t.safetensors"
    for content, words in ((b"", "not a complete"), (b"version https://git-lfs", "Git LFS")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path}: .*{words}"):
            load_trace(path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(FileNotFoundError, match="pipe.safetensors"):
        load_trace(tmp_path / "pipe.safetensors")
    for wrong in (None, 3, b"t.safetensors", ""):
        with pytest.raises((TypeError, ValueError), match="^path: got"):
            load_trace(wrong)


def test_numbers_that_are_not_finite_do_not_go_into_a_file(trace, tmp_path):
    layer = trace.layers[0]
    bad = layer.weights.clone()
    bad[0, 0, 0] = torch.nan
    broken = replace(trace, layers=[replace(layer, weights=bad), *trace.layers[1:]])
    with pytest.raises(ValueError, match="weights: got '1 entries that are NaN or infinite'"):
        broken.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_gives_nan_is_refused_by_its_layer(model):
    broken = copy.deepcopy(model)
    name, weight = next((n, p) for n, p in broken.named_parameters() if "router" in n)
    with torch.no_grad():
        weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=f"^model: got .*NaN.* {name.partition('.router')[0]}"):
        trace_routing(broken, IDS)


@pytest.mark.parametrize("wrong", ["tokenizer", 3, [], b"bytes"])
def test_a_frame_without_a_tokenizer_to_spell_it_is_refused(wrong):
    with pytest.raises(TypeError, match="^tokenizer: got"):
        by_hand().to_pandas(wrong)


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
    with pytest.raises(ValueError, match="layers: got .0"):
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
