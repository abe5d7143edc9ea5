"""Wrong inputs by kind that a tester found: damaged traces and cards, sizes beyond all memory,
masks without a token, arguments that go by another name in the depths."""

import json
import os
from dataclasses import replace

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, trace_routing, train
from moe_lib.__main__ import main
from moe_lib.errors import LONGEST, refusal
from moe_lib.files import read_tensors, write_tensors
from moe_lib.intervals import interval
from moe_lib.model import KVCache, Routing, make_router
from moe_lib.model.attention import Attention
from moe_lib.model.generation import generate
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.rotary import rotary_angles, rotate
from moe_lib.opening import check_openable
from moe_lib.text import Batches, mask_tokens, train_tokenizer
from moe_lib.tracing import load_trace, save_trace
from moe_lib.tracing.analysis.information import routing_information
from moe_lib.tuning import finetune
from moe_lib.tuning.methods import LoRA, load_adapter
from moe_lib.tuning.prompting.tasks import translation_chats
from moe_lib.tuning.robust.perturbing import embedding_norms, perturbed

IDS = torch.arange(6).view(1, 6)
TINY = ModelConfig.preset("tiny")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LanguageModel(TINY).eval()


@pytest.fixture(scope="module")
def trace(model):
    return trace_routing(model, IDS)


def changed(trace, **fields):
    return replace(trace, layers=[replace(trace.layers[0], **fields), *trace.layers[1:]])


def header_changed(trace, path, **fields):
    """Save the trace with other fields of its header, or of its first layer."""
    save_trace(trace, path)
    tensors, metadata = read_tensors(path)
    header = json.loads(metadata["trace"])
    for name, value in fields.items():
        (header if name in header else header["layers"][0])[name] = value
    write_tensors(path, tensors, {**metadata, "trace": json.dumps(header)})


WRONG_TRACES = [
    ("n_layers", 1, "layers"),
    ("index", 10**30, "layers"),
    ("n_group", 3, "n_group"),
    ("n_group", 10**9, "n_group"),
    ("topk_group", 5, "topk_group"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG_TRACES)
def test_traces_that_cannot_be(trace, tmp_path, name, value, said):
    path = tmp_path / "trace.safetensors"
    header_changed(trace, path, **{name: value})
    with pytest.raises(ValueError, match=f"trace.safetensors: .*{said}: got .*; wants"):
        load_trace(path)
    whole = name == "n_layers"
    wrong = replace(trace, n_layers=value) if whole else changed(trace, **{name: value})
    with pytest.raises(ValueError, match=f"{said}: got .*; wants"):
        save_trace(wrong, tmp_path / "refused.safetensors")
    assert not (tmp_path / "refused.safetensors").exists()


def test_an_expert_twice_for_one_token(trace, tmp_path):
    experts = trace.layers[0].experts.clone()
    assert experts.shape[-1] > 1
    experts[0, 2] = experts[0, 2, 0]
    with pytest.raises(ValueError, match="experts: got .an expert twice at 1 tokens.; wants"):
        save_trace(changed(trace, experts=experts), tmp_path)
    chosen = torch.ones_like(experts, dtype=torch.bool)
    chosen[0, 2, 1:] = False  # the second column holds no choice: nothing is chosen twice
    save_trace(changed(trace, experts=experts, chosen=chosen), tmp_path)
    padding = replace(trace, real=trace.real & (torch.arange(6) != 2))
    save_trace(changed(padding, experts=experts), tmp_path)


@pytest.mark.parametrize(
    "name", ["mine", "layers.7.experts", "layers.0.colours", "attention_layers"]
)
def test_a_tensor_that_no_layer_has(trace, tmp_path, name):
    path = save_trace(trace, tmp_path)
    tensors, metadata = read_tensors(path)
    write_tensors(path, {**tensors, name: torch.ones(2)}, metadata)
    with pytest.raises(ValueError, match="trace.safetensors: not a whole routing trace"):
        load_trace(path)


@pytest.mark.parametrize("n_trainable", [0, -1, 10**30, True, "many", None])
def test_an_adapter_with_another_number_of_weights(tmp_path, n_trainable):
    base = LanguageModel(TINY)
    attached = LoRA(rank=2).attach(base)
    attached.save(tmp_path)
    attached.detach()
    path = tmp_path / "adapter.json"
    card = json.loads(path.read_text())
    for wrong in ({**card, "n_trainable": n_trainable}, {**card, "colour": 3}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="adapter.json: .*(n_trainable|colour)"):
            load_adapter(tmp_path, base)
    path.write_text(json.dumps(card))
    assert load_adapter(tmp_path, base).n_trainable == card["n_trainable"]


@pytest.mark.parametrize("option", ["--text-file", "--out", "model"])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_paths_that_are_no_files(tmp_path, capsys, option, kind):
    import socket

    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/null")
    else:
        socket.socket(socket.AF_UNIX).bind(str(place))
    arguments = {"model": "mini-v2", "--text": "a", option: str(place)}
    if option == "--text-file":
        del arguments["--text"]
    given = [arguments.pop("model")]
    for name, value in arguments.items():
        given += [name, value]
    try:
        code = main(["explore", *given])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code in (1, 2) and len(said.splitlines()) == 1 and str(place) in said, said
    assert place.exists() and not place.is_file()


def test_a_pipe_in_the_folder_of_a_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mixtral"}')
    os.mkfifo(tmp_path / "generation_config.json")
    with pytest.raises(ValueError, match="generation_config.json: is a folder, a pipe or a device"):
        check_openable(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "moe_lib", **TINY.to_dict()}))
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises((ValueError, OSError), match="is a folder, a pipe|not a regular file"):
        load_checkpoint(tmp_path)


SIZES = ["vocab_size", "hidden_size", "num_hidden_layers", "moe_intermediate_size"]
SIZES += ["n_routed_experts", "intermediate_size"]


@pytest.mark.parametrize("size", [2**40, 2**62, 10**30])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_beyond_all_memory(name, size):
    with pytest.raises(
        ValueError, match="(config|num_hidden_layers|n_routed_experts): got .*; wants"
    ):
        LanguageModel(TINY.replace(**{name: size}, first_k_dense_replace=1))


def test_unknown_settings_are_named():
    for call in (TINY.replace, lambda **wrong: ModelConfig(64, **wrong)):
        with pytest.raises(TypeError, match="unknown: got 1; wants a name out of .*hidden_size"):
            call(unknown=1)
    with pytest.raises(TypeError, match="step: got 3; wants a name out of .*steps"):
        train(LanguageModel(TINY), Batches(IDS, 1), step=3)


NOTHING = torch.zeros(1, 6, dtype=torch.long)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: trace_routing(model, IDS, NOTHING),
        lambda model: model(IDS, NOTHING),
        lambda model: model.generate(IDS, 2, attention_mask=NOTHING),
        lambda model: Batches(IDS, 1, attention_mask=NOTHING),
        lambda model: embedding_norms(model, {"input_ids": IDS, "attention_mask": NOTHING}),
    ],
)
def test_a_mask_without_a_real_token(model, call):
    with pytest.raises(ValueError, match="attention_mask: got .*; wants"):
        call(model)


def in_the_block(model, delta):
    with perturbed(model, delta):
        model(IDS)


def pairs(model):
    return translation_chats([{"en": "a", "zh": "b"}], "en", "en")


X = torch.ones(1, 2, 6, 8)
LATENT = ModelConfig.preset(
    "tiny", attention="mla", kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8
)
FULL = torch.zeros(1, 6, TINY.hidden_size)
ROUTING = dict(
    experts=torch.zeros(3, 2, dtype=torch.long),
    weights=torch.ones(3, 2),
    scores=torch.ones(3, 4),
    logits=torch.ones(3, 4),
    kept=torch.ones(3, 2, dtype=torch.bool),
)
DEPTHS = [
    ("model", lambda model: generate("mini-v2", IDS, 2)),
    ("model", lambda model: generate(None, IDS, 2)),
    ("delta", lambda model: in_the_block(model, FULL * float("nan"))),
    ("delta", lambda model: in_the_block(model, FULL.long())),
    ("delta", lambda model: in_the_block(model, FULL[0])),
    ("input_ids", lambda model: embedding_norms(model, {"input_ids": IDS.float()})),
    ("input_ids", lambda model: embedding_norms(model, {"input_ids": IDS + 10**6})),
    ("x", lambda model: rotate(X, rotary_angles(torch.arange(6)[None], 16))),
    ("x", lambda model: rotate(X, torch.ones(1, 6, 1))),
    ("config", lambda model: Attention(LATENT, 0)),
    ("config", lambda model: LatentAttention(TINY, 0)),
    ("config", lambda model: Attention("tiny", 0)),
    ("layer", lambda model: Attention(TINY, -1)),
    ("layer", lambda model: LatentAttention(LATENT, "0")),
    ("layer", lambda model: KVCache().append(3, X)),
    ("layer", lambda model: KVCache().append(-1, X)),
    ("layer", lambda model: KVCache().append("0", X)),
    ("layer", lambda model: KVCache().append(True, X)),
    ("key", lambda model: KVCache().append(0, X[0])),
    ("key", lambda model: KVCache().append(0, X.long())),
    ("key", lambda model: KVCache().append(0, [X])),
    ("experts", lambda model: Routing(**{**ROUTING, "experts": None})),
    ("weights", lambda model: Routing(**{**ROUTING, "weights": torch.ones(3, 1)})),
    ("kept", lambda model: Routing(**{**ROUTING, "kept": "all"})),
    ("experts", lambda model: Routing(**{**ROUTING, "experts": [[0, 1]]})),
    ("name", lambda model: make_router("unknown", 8, 4, 2)),
    ("tokenizer_or_ids", lambda model: mask_tokens(IDS, 3, generator=torch.Generator())),
    ("target", pairs),
    ("texts", lambda model: train_tokenizer({"a": "b"}, 300)),
    ("texts", lambda model: train_tokenizer("a text", 300)),
    ("values[1]", lambda model: interval([1.0, float("inf")])),
    ("values", lambda model: interval({1.0: 2.0})),
    ("values", lambda model: interval("12")),
    ("warmup_steps", lambda model: train(model, Batches(IDS, 1), steps=2, warmup_steps=3)),
    ("warmup_steps", lambda model: finetune(model, Batches(IDS, 1), steps=2, warmup_steps=3)),
]


@pytest.mark.parametrize(("name", "call"), DEPTHS)
def test_the_argument_is_named_that_the_caller_gave(model, name, call):
    with pytest.raises((ValueError, TypeError)) as caught:
        call(model)
    said = str(caught.value)
    assert said.startswith(f"{name}: got ") and "; wants " in said, said


def test_labels_of_which_none_is_used(trace):
    with pytest.raises(ValueError, match="^labels: got .none of a real token.; wants"):
        routing_information(trace, trace.layers[0].index, torch.full((1, 6), -1))


LONG = [
    "x" * 10**6,
    list(range(10**5)),
    [[1.0] * 100] * 100,
    {f"key {n}": "v" * 100 for n in range(100)},
    {"a": {"b": ["c" * 100] * 50}},
    10**199 + 10**150,
    "two\nlines",
    torch.zeros(3, 4),
    object(),
]


@pytest.mark.parametrize("value", LONG, ids=lambda value: type(value).__name__)
def test_messages_are_one_short_line(value):
    said = refusal("name" * 1000, value, "wants " * 1000)
    assert "\n" not in said and len(said) < 8 * LONGEST
    got = refusal("name", value, "").removeprefix("name: got ").removesuffix("; wants ")
    assert 0 < len(got) <= LONGEST
