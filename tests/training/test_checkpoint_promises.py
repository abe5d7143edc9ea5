"""What is refused before a checkpoint is written or opened, and what a full disk or a kill
leaves."""

import json
import os
import subprocess
import sys

import pytest
import torch

from moe_lib import load_checkpoint, save_checkpoint
from moe_lib.files import read_tensors, write_atomically, write_tensors
from tests.training.small import make_model, weights_of


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def config(**changes):
    def change(folder):
        path = folder / "config.json"
        fields = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in fields.items() if v != "gone"}))

    return change


def tensor(name, value):
    def change(folder):
        tensors, metadata = read_tensors(folder / "model.safetensors")
        tensors[name] = value
        write_tensors(folder / "model.safetensors", tensors, metadata)

    return change


def raw(name, content):
    return lambda folder: (folder / name).write_bytes(content)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (config(num_experts_per_tok="gone"), "config.json: has no num_experts_per_tok"),
        (config(router="gone"), "config.json: has no router"),
        (config(causal="gone"), "config.json: has no causal"),
        (config(vocab_size=10**11), "model.safetensors: embedding.weight has shape"),
        (config(num_hidden_layers=10**9), "config.json: num_hidden_layers: got 1000000000"),
        (config(num_hidden_layers=9999), "does not fit its config: num_hidden_layers"),
        (config(n_routed_experts=10**9), "config.json: n_routed_experts: got 1000000000"),
        (config(n_routed_experts=10**6), "does not fit its config: n_routed_experts"),
        (tensor("norm.weight", torch.ones(16, dtype=torch.int64)), "norm.weight holds torch.int64"),
        (tensor("norm.weight", torch.full((16,), torch.nan)), "norm.weight holds a NaN"),
        (tensor("norm.weight", torch.ones(15)), "norm.weight has shape"),
        (tensor("head.weight", torch.ones(20, 16)), "head.weight is not embedding.weight"),
        (raw("model.safetensors", POINTER), "model.safetensors: a pointer of Git LFS"),
        (raw("model.safetensors", b""), "model.safetensors: not a complete safetensors file"),
        (raw("config.json", b"[" * 100_000), "config.json: not valid JSON"),
        (raw("config.json", b"\xff\xfe{"), "config.json: not valid JSON"),
    ],
)
def test_what_cannot_be_a_checkpoint_is_named(tmp_path, damage, message):
    save_checkpoint(make_model(tie_word_embeddings=True), tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path)


def test_a_table_with_an_expert_that_is_not_there_is_named(tmp_path):
    save_checkpoint(make_model(router="hash"), tmp_path)
    tensors, _ = read_tensors(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("table"))
    tensor(name, torch.full_like(tensors[name], 99))(tmp_path)
    with pytest.raises(ValueError, match=f"{name} names experts outside 0 to 3"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dtype=torch.int8), "dtype: got torch.int8"),
        (dict(dtype="bfloat16"), "dtype: got 'bfloat16'"),
        (dict(tokenizer="course"), "tokenizer: got 'str'"),
        (dict(folder=None), "folder: got None"),
        (dict(folder=3), "folder: got 3"),
        (dict(model=torch.nn.Linear(2, 2)), "model: got 'Linear'"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        save_checkpoint(**{"model": make_model(), "folder": tmp_path / "new", **arguments})
    assert not (tmp_path / "new").exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.norm.weight[3] = 1e30
    with pytest.raises(ValueError, match="model: got 'a NaN or infinity in norm.weight'"):
        save_checkpoint(model, tmp_path, dtype=torch.float16)


class HalfATokenizer:
    def save_pretrained(self, folder):
        (folder / "tokenizer.json").write_text('{"version": ')
        raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_the_old_checkpoint_whole_and_names_the_folder(tmp_path):
    save_checkpoint(make_model(), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(OSError, match=f"No space left on device.*{tmp_path.name}"):
        save_checkpoint(make_model(seed=1), tmp_path, HalfATokenizer())
    assert contents(tmp_path) == before
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(make_model(seed=1), tmp_path / "new", HalfATokenizer())
    assert not (tmp_path / "new").exists()
    save_checkpoint(make_model(seed=1), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert torch.equal(weights_of(load_checkpoint(tmp_path)[0]), weights_of(make_model(seed=1)))


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither umask nor a harmless way to ask")
def test_files_follow_the_umask_and_what_a_killed_save_left_is_removed(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from moe_lib.files import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda aside: (aside.write_text('half'), os._exit(9)))"
    )
    path = tmp_path / "a.txt"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.read_text() == "old" and len(contents(tmp_path)) == 2
    before = os.umask(0o027)
    try:
        write_atomically(path, lambda aside: aside.write_text("new"))
        save_checkpoint(make_model(), tmp_path / "model")
    finally:
        os.umask(before)
    assert path.read_text() == "new" and set(contents(tmp_path / "model")) == {
        "config.json",
        "model.safetensors",
    }
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.txt", "model"}
    for file in (path, *(tmp_path / "model").iterdir()):
        assert file.stat().st_mode & 0o777 == 0o640
