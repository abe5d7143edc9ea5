"""Opening a model: what is damaged, missing or something else is said in one sentence that names
it."""

import json

import pytest
from safetensors.torch import load_file, save_file

from moe_lib.opening import open_model
from moe_lib.text import load_tokenizer
from tests.tracing.families import build


@pytest.fixture
def folder(tmp_path):
    tokenizer = load_tokenizer("course")
    build("mixtral", vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_of_transformers_opens(folder):
    model, tokenizer = open_model(folder)
    assert type(model).__name__ == "MixtralForCausalLM" and not model.training
    assert tokenizer.vocab_size == model.config.vocab_size


def test_damaged_files_are_named(folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, fields = weights.read_bytes(), json.loads(config.read_text())
    for damage, message in (
        (whole[:-10], "model.safetensors: not a complete safetensors file"),
        (whole[:100], "model.safetensors: not a complete safetensors file"),
        (b"", "model.safetensors: not a complete safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "model.safetensors: a pointer of Git"),
    ):
        weights.write_bytes(damage)
        with pytest.raises(ValueError, match=message):
            open_model(folder)
    weights.write_bytes(whole)
    for text, message in (
        (json.dumps({**fields, "hidden_size": "wide"}), "config.json: .*hidden_size"),
        ("[" * 100_000, "config.json: not valid JSON"),
        ("[]", "config.json: holds a list"),
        ("\udcff", "config.json: not valid JSON"),
    ):
        config.write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match=message):
            open_model(folder)


def test_other_failures_name_the_folder(folder):
    tokens = folder / "tokenizer.json"
    whole = tokens.read_text()
    tokens.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{folder}: transformers cannot open it"):
        open_model(folder)
    tokens.write_text(whole)
    config = folder / "config.json"
    fields = json.loads(config.read_text())
    for library in ("gptq", "awq"):
        fields["quantization_config"] = {"quant_method": library, "bits": 4}
        config.write_text(json.dumps(fields))
        with pytest.raises(ValueError, match=f"{folder}"):
            open_model(folder)


def test_an_adapter_alone_is_called_one(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    save_file(load_file(folder / "model.safetensors"), folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=f"{folder}: an adapter of some/base, not a model"):
        open_model(folder)


@pytest.mark.parametrize("wrong", [None, 3, b"a", ["a"], "", "a\0b"])
def test_what_is_no_name_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="^name_or_folder: got"):
        open_model(wrong)
    with pytest.raises(TypeError, match="^trust_remote_code: got 1"):
        open_model("mini-v2", 1)
