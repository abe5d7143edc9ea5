"""The files: both namings, shards, one tensor at a time, damage, what is written, the tokenizer."""

import json
import weakref

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from moe_lib import ModelConfig, load_checkpoint, save_checkpoint
from moe_lib.interop import from_transformers, save_transformers, sources
from moe_lib.model import LanguageModel
from moe_lib.text import load_tokenizer
from tests.interop.official import ids, make_official, relative_error

PER_EXPERT = "model.layers.1.mlp.experts.7.up_proj.weight"
STACKED = "model.layers.1.mlp.experts.gate_up_proj"
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")


@pytest.fixture
def official():
    return make_official("everything")


def stack(folder):
    """Rewrite a folder of one entry per expert with the experts stacked, as they are in
    transformers' memory."""
    tensors = load_file(folder / "model.safetensors")
    rest = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for name in [name for name in tensors if name.endswith("experts.0.gate_proj.weight")]:
        at = name.removesuffix(".0.gate_proj.weight")
        numbers = range(
            sum(key.startswith(f"{at}.") and key.endswith("down_proj.weight") for key in tensors)
        )
        rest[f"{at}.down_proj"] = torch.stack(
            [tensors[f"{at}.{e}.down_proj.weight"] for e in numbers]
        )
        rest[f"{at}.gate_up_proj"] = torch.stack(
            [
                torch.cat([tensors[f"{at}.{e}.{part}_proj.weight"] for part in ("gate", "up")])
                for e in numbers
            ]
        )
    save_file(rest, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("layout", ["one file", "shards", "stacked"])
def test_reads_what_transformers_writes(official, tmp_path, layout):
    official.save_pretrained(tmp_path, max_shard_size="40KB" if layout == "shards" else "1GB")
    if layout == "stacked":
        stack(tmp_path)
    names = [name for path in tmp_path.glob("*.safetensors") for name in load_file(path)]
    assert (PER_EXPERT in names, STACKED in names) == (layout != "stacked", layout == "stacked")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 3) == (layout == "shards")
    assert relative_error(from_transformers(tmp_path), official).max() < 1e-5
    half = from_transformers(str(tmp_path), dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_weights_are_in_memory_once(official, tmp_path, monkeypatch):
    official.save_pretrained(tmp_path)
    alive, peak, reads = [], [], []
    get, opened = sources.FolderSource.get, sources._open

    def watched(self, name):
        tensor = get(self, name)
        reads.append(name)
        alive.append(tensor.nbytes)
        peak.append(sum(alive))
        weakref.finalize(tensor, alive.remove, tensor.nbytes)
        return tensor

    monkeypatch.setattr(sources.FolderSource, "get", watched)
    monkeypatch.setattr(sources, "REMAP_AFTER", 10_000)
    monkeypatch.setattr(sources, "_open", lambda path: reads.append("opened") or opened(path))
    from_transformers(tmp_path)
    largest = max(tensor.nbytes for tensor in load_file(tmp_path / "model.safetensors").values())
    assert max(peak) <= largest, "never more than one tensor of the file beside the new model"
    names = [name for name in reads if name != "opened"]
    assert len(names) == len(set(names)), "nothing is read twice"
    assert reads.count("opened") > 5, (
        "the file is mapped anew now and then, so that its pages can go"
    )


def test_export_has_the_names_of_transformers_own_files(official, tmp_path):
    official.save_pretrained(tmp_path / "theirs")
    ours = from_transformers(official)
    save_transformers(ours, tmp_path / "mine")
    theirs, mine = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "mine"))
    assert PER_EXPERT in mine and set(mine) == set(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with safe_open(tmp_path / "mine" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}, "older transformers refuse a file without"


def test_large_models_are_written_in_shards_and_old_files_go(official, tmp_path):
    ours = from_transformers(official)
    save_transformers(ours, tmp_path, max_shard_bytes=30_000)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 3 and all(
        len(path.read_bytes()) < 45_000 for path in tmp_path.glob("*.safetensors")
    )
    back, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert relative_error(back, official).max() < 1e-6
    assert relative_error(from_transformers(tmp_path), official).max() < 1e-5

    other = from_transformers(make_official("base"))
    save_transformers(other, tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    assert relative_error(AutoModelForCausalLM.from_pretrained(tmp_path), other).max() < 1e-5
    save_transformers(ours, tmp_path, max_shard_bytes=30_000)
    assert not (tmp_path / "model.safetensors").exists(), (
        "transformers would read it before the shards"
    )


def test_the_course_tokenizer_goes_along_and_ends_generation(tmp_path):
    tokenizer = load_tokenizer("course")
    torch.manual_seed(0)
    ours = LanguageModel(
        ModelConfig(
            vocab_size=len(tokenizer),
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=32,
            attention="mla",
            kv_lora_rank=12,
            qk_nope_head_dim=8,
            qk_rope_head_dim=8,
            v_head_dim=6,
            n_routed_experts=4,
            moe_intermediate_size=8,
            initializer_range=0.3,
        )
    ).eval()
    save_transformers(ours, tmp_path, tokenizer)
    opened, back = (
        AutoTokenizer.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
    )
    text = "def route(x):\n    return 42  # naïve café"
    assert opened(text)["input_ids"] == tokenizer(text)["input_ids"] and opened.decode(
        opened(text)["input_ids"]
    )
    assert back.config.eos_token_id == tokenizer.eos_token_id == opened.eos_token_id
    assert back.config.pad_token_id == tokenizer.pad_token_id
    x = torch.tensor([tokenizer(text)["input_ids"]])
    mine = ours.generate(x, 30, stop_token_ids=[tokenizer.eos_token_id])
    assert torch.equal(mine, back.generate(x, max_new_tokens=30, do_sample=False))
    assert back.generation_config.eos_token_id == tokenizer.eos_token_id, "generate stops there"


def test_a_bfloat16_model_keeps_its_type(tmp_path):
    ours = from_transformers(make_official()).bfloat16()
    save_transformers(ours, tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16
    assert from_transformers(tmp_path).embedding.weight.dtype == torch.bfloat16


def damage(folder, what):
    path, config = folder / "model.safetensors", folder / "config.json"
    fields, tensors = json.loads(config.read_text()), load_file(path)
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "no weights":
        path.unlink()
    elif what == "bin only":
        path.rename(folder / "pytorch_model.bin")
    elif what == "no config":
        config.unlink()
    elif what == "bad json":
        config.write_text("{")
    elif what == "missing tensor":
        del tensors[PER_EXPERT]
    elif what == "extra tensor":
        tensors["model.layers.9.input_layernorm.weight"] = torch.ones(24)
    elif what == "wrong shape":
        tensors[PER_EXPERT] = tensors[PER_EXPERT][:, :-1].contiguous()
    elif what == "untied":
        tensors["lm_head.weight"] = torch.randn(48, 24)
    else:
        fields.update(what)
    if what in ("missing tensor", "extra tensor", "wrong shape", "untied"):
        save_file(tensors, path)
    elif isinstance(what, dict):
        config.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("cut", ValueError, r"model.safetensors: not a complete safetensors file"),
        ("no weights", FileNotFoundError, "model.safetensors: missing"),
        ("bin only", FileNotFoundError, "model.safetensors: missing"),
        ("no config", FileNotFoundError, "config.json: missing"),
        ("bad json", ValueError, "config.json: not valid JSON"),
        ("missing tensor", ValueError, f"none named {PER_EXPERT}"),
        ("extra tensor", ValueError, "also model.layers.9.input_layernorm.weight"),
        ("wrong shape", ValueError, rf"{PER_EXPERT}: got \(12, 23\); wants shape \(12, 24\)"),
        ("untied", ValueError, "lm_head.weight: got 'another matrix than the embedding'"),
        (
            dict(model_type="mixtral"),
            ValueError,
            "model_type: got 'mixtral'; wants \"deepseek_v2\"",
        ),
        (
            dict(quantization_config={"bits": 4}),
            ValueError,
            "quantization_config: got 'a quantised model'",
        ),
        (dict(hidden_size="24"), ValueError, "config.json: .*hidden_size"),
        (dict(hidden_act="gelu"), ValueError, "hidden_act: got 'gelu'"),
        (dict(attention_dropout=0.1), ValueError, "attention_dropout: got 0.1"),
        (dict(topk_method="noaux_tc"), ValueError, "topk_method: got 'noaux_tc'"),
        (dict(num_key_value_heads=1), ValueError, "num_key_value_heads: got 1"),
        (
            dict(num_experts_per_tok=9, topk_method="greedy"),
            ValueError,
            "num_experts_per_tok: got 9",
        ),
        (
            dict(rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=1e4)),
            ValueError,
            "rope_type: got 'linear'",
        ),
        (
            dict(
                rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)
            ),
            ValueError,
            "partial_rotary_factor: got 0.5",
        ),
    ],
)
def test_damage_and_unknown_settings_are_named(official, tmp_path, what, error, message):
    official.save_pretrained(tmp_path)
    damage(tmp_path, what)
    with pytest.raises(error, match=message):
        from_transformers(tmp_path)


def test_shard_lists_are_checked(official, tmp_path):
    official.save_pretrained(tmp_path, max_shard_size="40KB")
    index = tmp_path / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    first = sorted(tmp_path.glob("*.safetensors"))[0]
    first.rename(tmp_path / "away")
    with pytest.raises(
        FileNotFoundError, match=f"{first.name}: missing; model.safetensors.index.json lists it"
    ):
        from_transformers(tmp_path)
    for wrong, message in (
        (dict(weight_map={"a": "../x"}), "lists '../x'"),
        (dict(metadata={}), "no weight_map"),
    ):
        index.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            from_transformers(tmp_path)
    assert listed["weight_map"]


def test_other_models_are_refused(tmp_path):
    with pytest.raises(TypeError, match="model_or_folder: got 'Linear'"):
        from_transformers(torch.nn.Linear(2, 2))
    with pytest.raises(FileNotFoundError, match="wants a local folder"):
        from_transformers("deepseek-ai/no-such-folder")
    with pytest.raises(TypeError, match="model: got Linear"):
        save_transformers(torch.nn.Linear(2, 2), tmp_path)
    model = LanguageModel(ModelConfig.preset("tiny", vocab_size=20))
    save_checkpoint(model, tmp_path / "own")
    with pytest.raises(
        ValueError, match="model_type: got 'moe_lib'.*load_checkpoint reads this one"
    ):
        from_transformers(tmp_path / "own")
    tokenizer = load_tokenizer("course")
    ours = from_transformers(make_official())
    with pytest.raises(ValueError, match="tokenizer: got '4096 tokens'; wants at most vocab_size"):
        save_transformers(ours, tmp_path / "x", tokenizer)
    assert not (tmp_path / "x").exists(), "nothing is written before all is known to fit"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(
                attention="mha",
                kv_lora_rank=None,
                qk_nope_head_dim=None,
                qk_rope_head_dim=None,
                v_head_dim=None,
            ),
            "attention: got 'mha'",
        ),
        (dict(causal=False), "causal: got False"),
        (dict(num_attention_heads=5), "hidden_size: got 24; wants a multiple"),
        (
            dict(norm_topk_prob=True),
            "norm_topk_prob: got True; wants False: transformers' DeepSeek-V2 ignores",
        ),
        (dict(scoring_func="sigmoid"), "scoring_func: got 'sigmoid'"),
        (dict(capacity_factor=1.0), "capacity_factor: got 1.0"),
        (dict(router="biased_topk"), "router: got 'biased_topk'"),
        (dict(router="topk_softmax"), "router: got 'topk_softmax'"),
        (dict(router="switch", num_experts_per_tok=1), "router: got 'switch'"),
        (dict(router="hash"), "router: got 'hash'"),
    ],
)
def test_what_transformers_cannot_express_is_refused(changes, message, tmp_path):
    sizes = dict(
        vocab_size=20,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        attention="mla",
        kv_lora_rank=8,
        qk_nope_head_dim=4,
        qk_rope_head_dim=4,
        v_head_dim=4,
        n_routed_experts=4,
        moe_intermediate_size=8,
        intermediate_size=8,
    )
    if changes.get("num_attention_heads") == 5:
        changes = changes | dict(num_key_value_heads=5)
    with pytest.raises(ValueError, match=message):
        save_transformers(LanguageModel(ModelConfig(**{**sizes, **changes})), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_own_checkpoint_and_transformers_folder_hold_the_same_model(tmp_path):
    ours = from_transformers(make_official("groups"))
    loaded, _ = load_checkpoint(save_checkpoint(ours, tmp_path / "own"))
    x = ids()
    with torch.no_grad():
        assert torch.equal(loaded(x).logits, ours(x).logits)
    assert loaded.config == ours.config


def test_only_the_files_of_the_model_before_are_removed(official, tmp_path):
    """Shards of the old model go; a reader's own files stay, whatever they are called."""
    kept = (
        "model_of_mine.safetensors",
        "model.old.safetensors",
        "model-00001-of-00099.safetensors",
    )
    for name in kept:
        (tmp_path / name).write_bytes(b"mine")
    ours = from_transformers(official)
    save_transformers(ours, tmp_path, max_shard_bytes=30_000)
    save_transformers(ours, tmp_path)
    assert all((tmp_path / name).read_bytes() == b"mine" for name in kept)
    theirs = {path.name for path in tmp_path.iterdir()} - set(kept)
    assert theirs == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("part", ["weights", "tokenizer", "config"])
def test_a_full_disk_leaves_the_old_model(official, tmp_path, monkeypatch, part):
    ours = from_transformers(official)
    save_transformers(ours, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tokenizer = load_tokenizer("course")
    wide = from_transformers(make_official(vocab_size=len(tokenizer)))

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    if part == "tokenizer":
        tokenizer = tokenizer.to_transformers()
        monkeypatch.setattr(tokenizer, "save_pretrained", full)
    else:
        name = "write_json" if part == "config" else "write_tensors"
        monkeypatch.setattr(f"moe_lib.interop.exporting.{name}", full)
    with pytest.raises(OSError, match=str(tmp_path)):
        save_transformers(wide, tmp_path, tokenizer)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_plain_model_is_not_written(tmp_path):
    ours = from_transformers(make_official())
    get_peft_model(ours, LoraConfig(target_modules=["o_proj"]))  # changes ours itself
    with pytest.raises(ValueError, match="model: got .*; wants a plain LanguageModel: merge or"):
        save_transformers(ours, tmp_path / "x")
    broken = from_transformers(make_official())
    with torch.no_grad():
        broken.norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match="model: got 'norm.weight with a NaN"):
        save_transformers(broken, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to(torch.int64), "norm.weight: got torch.int64; wants plain floating-point"),
        (lambda t: t.to(torch.float8_e4m3fn), "norm.weight: got torch.float8_e4m3fn; wants plain"),
        (lambda t: t * torch.nan, "norm.weight: got 'a NaN or infinity'"),
    ],
)
def test_weights_that_are_no_weights_are_named(official, tmp_path, change, message):
    official.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"] = change(tensors["model.norm.weight"])
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"{tmp_path}: model.{message}"):
        from_transformers(tmp_path)


def test_a_tensor_in_two_shards_must_be_the_same_in_both(official, tmp_path):
    official.save_pretrained(tmp_path, max_shard_size="40KB")
    first, *_, last = sorted(tmp_path.glob("*.safetensors"))
    name, tensor = next(iter(load_file(first).items()))
    for twin, refused in ((tensor, False), (tensor + 1, True), (tensor[:1], True)):
        save_file({**load_file(last), name: twin.contiguous()}, last, {"format": "pt"})
        if refused:
            with pytest.raises(ValueError, match=f"{last.name}: {name} is in {first.name} too"):
                from_transformers(tmp_path)
        else:
            assert relative_error(from_transformers(tmp_path), official).max() < 1e-5


def test_a_pointer_of_git_lfs_is_called_by_its_name(official, tmp_path):
    official.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="model.safetensors: a pointer of Git LFS"):
        from_transformers(tmp_path)


@pytest.mark.parametrize("wrong", [None, 3, b"folder", ["a"], 1.5, ""])
def test_what_is_no_folder_is_refused_by_name(wrong, tmp_path):
    with pytest.raises((TypeError, ValueError), match="^model_or_folder: got"):
        from_transformers(wrong)
    with pytest.raises((TypeError, ValueError), match="^folder: got"):
        save_transformers(from_transformers(make_official()), wrong)
    for dtype in ("bfloat16", torch.int8, torch.float8_e4m3fn):
        with pytest.raises((TypeError, ValueError), match="^dtype: got"):
            from_transformers(tmp_path, dtype)
