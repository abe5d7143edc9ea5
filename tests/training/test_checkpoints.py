"""Checkpoints: what comes back, and what is said about a damaged one."""

import json

import pytest
import torch

from moe_lib import load_checkpoint, save_checkpoint
from moe_lib.files import read_tensors, write_tensors
from moe_lib.text import load_tokenizer
from tests.training.small import make_model

IDS = torch.arange(10)[None]


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip(tmp_path, tied):
    model = make_model(tie_word_embeddings=tied).eval()
    save_checkpoint(model, tmp_path / "a")
    again, tokenizer = load_checkpoint(tmp_path / "a")
    assert tokenizer is None and again.config == model.config and not again.training
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    assert (again.head.weight is again.embedding.weight) == tied
    assert all(
        parameter.requires_grad and parameter.device.type == "cpu"
        for parameter in again.parameters()
    )
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_bfloat16_halves_the_file_and_rounds_once(tmp_path):
    model = make_model()
    sizes = [
        save_checkpoint(model, tmp_path / name, dtype=dtype)
        .joinpath("model.safetensors")
        .stat()
        .st_size
        for name, dtype in (("full", None), ("half", torch.bfloat16))
    ]
    again, _ = load_checkpoint(tmp_path / "half")
    assert sizes[1] < 0.65 * sizes[0]
    for mine, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert mine.dtype == torch.float32 and torch.equal(mine, theirs.bfloat16().float())


def test_tokenizer_travels_along(tmp_path):
    tokenizer = load_tokenizer()
    save_checkpoint(make_model(vocab_size=len(tokenizer)), tmp_path, tokenizer)
    _, tokenizer = load_checkpoint(tmp_path)
    text = "Ein Café, 咖啡, and\ttabs"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_missing_things_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="nowhere: no such checkpoint; wants a folder or one of"
    ):
        load_checkpoint("nowhere")
    save_checkpoint(make_model(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors: missing"):
        load_checkpoint(tmp_path)


def damage(folder, what):
    config, weights = folder / "config.json", folder / "model.safetensors"
    fields = json.loads(config.read_text())
    if what == "cut short":
        weights.write_bytes(weights.read_bytes()[:-7])
    elif what == "not tensors":
        weights.write_bytes(b"PK\x03\x04 a pickle in a zip")
    elif what == "broken json":
        config.write_text('{"vocab_size": ')
    elif what == "a list":
        config.write_text("[1, 2]")
    elif what == "somebody else's":
        config.write_text(json.dumps({**fields, "model_type": "bert"}))
    elif what == "impossible sizes":
        config.write_text(json.dumps({**fields, "num_experts_per_tok": 99}))
    elif what == "other sizes":
        config.write_text(json.dumps({**fields, "hidden_size": 32}))
    elif what == "a tensor short":
        tensors, _ = read_tensors(weights)
        tensors.pop("norm.weight")
        write_tensors(weights, tensors)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("cut short", "model.safetensors: not a complete safetensors file"),
        ("not tensors", "model.safetensors: not a complete safetensors file"),
        ("broken json", "config.json: not valid JSON"),
        ("a list", "config.json: holds a list; wants a JSON object"),
        ("somebody else's", "config.json: not a moe_lib checkpoint"),
        ("impossible sizes", "config.json: num_experts_per_tok: got 99"),
        ("other sizes", "model.safetensors: .* has shape"),
        ("a tensor short", "model.safetensors: does not fit its config: missing .'norm.weight'."),
    ],
)
def test_damage_is_named(tmp_path, what, message):
    save_checkpoint(make_model(), tmp_path)
    damage(tmp_path, what)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_checkpoint(make_model(seed=0), tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(make_model(seed=1), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
