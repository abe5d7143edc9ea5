"""`python -m moe_lib explore`: what is wrong is said in one line, at once, without a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, save_checkpoint
from moe_lib.__main__ import main
from moe_lib.opening import check_openable, open_model
from moe_lib.paths import CHECKPOINTS
from moe_lib.text import load_tokenizer
from moe_lib.tracing import read_text
from tests.tracing.families import build

ASK = ["explore", "mini-causal", "--text", "a"]


def run(*arguments, **environ):
    """`python -m moe_lib` in a process of its own -> (exit code, bytes said, bytes on stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "moe_lib", *arguments],
        capture_output=True,
        env={**os.environ, **environ},
    )
    return done.returncode, done.stdout, done.stderr


def refused(capsys, arguments) -> str:
    """The one line that the command says about wrong arguments; checks its exit code."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    assert code in (1, 2) and said.out == "" and len(said.err.splitlines()) == 1, said
    assert said.err.startswith("error: ")
    return said.err


@pytest.mark.parametrize("given", ["0", "-3", "1.5", "ten", "", "1e3", "٣x", "True"])
def test_a_wrong_number_of_tokens(given, capsys):
    said = refused(capsys, [*ASK, f"--max-tokens={given}"])
    assert f"--max-tokens: got {given!r}; wants a whole number of at least 1" in said


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "verb"),
        (["fly"], "fly"),
        (["explore"], "MODEL"),
        (["explore", "mini-causal"], "--text"),
        ([*ASK, "--text-file", __file__], "not allowed with"),
        ([*ASK, "--compare-text", "b", "--compare-model", "mini-v2"], "not allowed with"),
        ([*ASK, "--colour", "red"], "--colour"),
        (["explore", "mini-causal", "--text", "a\udcff"], r"--text: got 'a\udcff'; wants text"),
        (["explore", "nothing", "--text", "a"], "nothing: no such folder"),
        (["explore", "", "--text", "a"], "model: got ''"),
        (
            ["explore", "mini-causal", "--text", ""],
            "--text: got ''; wants a text that is not empty",
        ),
        ([*ASK, "--compare-text", ""], "--compare-text: got ''"),
        ([*ASK, "--compare-model", ""], "--compare-model: got ''"),
        (["explore", "a/b/c", "--text", "a"], "a/b/c: no such folder"),
        ([*ASK, "--compare-model", "nothing"], "nothing: no such folder"),
    ],
)
def test_wrong_arguments(arguments, words, capsys):
    assert words in refused(capsys, arguments)


def test_texts_and_pages_that_cannot_be(tmp_path, capsys):
    (tmp_path / "utf16.txt").write_bytes("some text".encode("utf-16"))
    (tmp_path / "latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    file = ["explore", "mini-causal", "--text-file"]
    assert "utf16.txt: line 1 is not valid UTF-8" in refused(
        capsys, [*file, tmp_path / "utf16.txt"]
    )
    assert "latin1.txt: line 1 is not valid UTF-8 (byte 0xe9)" in refused(
        capsys, [*file, tmp_path / "latin1.txt"]
    )
    assert "none.txt: no such file" in refused(capsys, [*file, tmp_path / "none.txt"])
    assert f"{tmp_path}: is a folder" in refused(capsys, [*file, tmp_path])
    (tmp_path / "empty.txt").touch()
    assert "empty.txt: is empty" in refused(capsys, [*file, tmp_path / "empty.txt"])
    assert "is a folder" in refused(capsys, [*ASK, "--out", tmp_path])
    below = tmp_path / "latin1.txt" / "page.html"
    assert "cannot be written" in refused(capsys, [*ASK, "--out", below])
    assert "wants the name of a file" in refused(capsys, [*ASK, "--out", "x" * 5000])


def test_what_is_wrong_is_said_before_torch_is_imported():
    code = (
        "import sys; from moe_lib.__main__ import main\n"
        "for wrong in (['--max-tokens', '0'], ['--compare-model', 'no'], ['--out', '/']):\n"
        "    try: main(['explore', 'mini-v2', '--text', 'a', *wrong])\n"
        "    except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False" and len(done.stderr.splitlines()) == 3


def test_a_console_that_is_not_utf8_gets_a_readable_line(tmp_path):
    page = tmp_path / "a folder that is not there" / "page.html"
    code, said, wrong = run(
        *("explore", "mini-v2", "--text", "中文 🙂 “x”", "--out", str(page)),
        PYTHONIOENCODING="cp437",
    )
    assert (code, wrong) == (0, b"") and page.is_file()
    assert b"1st choice" in said and "中文".encode() in page.read_bytes()


def test_a_byte_order_mark_is_no_text(tmp_path):
    file, page = tmp_path / "notepad.txt", tmp_path / "page.html"
    file.write_bytes(b"\xef\xbb\xbfThe list is sorted.")
    assert main(["explore", "mini-causal", "--text-file", str(file), "--out", str(page)]) == 0
    assert "\ufeff" not in page.read_text(encoding="utf-8").split("<body")[1]


@pytest.fixture
def ours(tmp_path) -> Path:
    folder = tmp_path / "ours"
    shutil.copytree(CHECKPOINTS / "mini-v2", folder)
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def header(path):
    path.write_bytes(path.read_bytes()[:20])


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "utf-8")


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, header, pointer, empty, Path.unlink])
def test_damaged_weights_are_named(damage, ours, capsys):
    damage(ours / "model.safetensors")
    said = refused(capsys, ["explore", ours, "--text", "a"])
    assert "safetensors" in said and str(ours) in said
    if damage is pointer:
        assert "git lfs pull" in said


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe{", b"[" * 100_000])
def test_a_damaged_configuration_is_named(content, ours, capsys):
    (ours / "config.json").write_bytes(content)
    assert str(ours / "config.json") in refused(capsys, ["explore", ours, "--text", "a"])


def test_a_file_is_no_folder(ours, capsys):
    assert "a file; wants a folder" in refused(
        capsys, ["explore", ours / "model.safetensors", "--text", "a"]
    )


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "mixtral"
    build("mixtral", vocab_size=4096, max_position_embeddings=256).save_pretrained(folder)
    load_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "method, more, package",
    [
        ("bitsandbytes", {"load_in_4bit": True}, "bitsandbytes"),
        ("gptq", {"bits": 4, "group_size": 128}, "optimum"),
    ],
)
def test_a_quantised_model_names_the_package_it_needs(
    method, more, package, mixtral, tmp_path, capsys
):
    folder = tmp_path / "quantised"
    shutil.copytree(mixtral, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": method, **more}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    said = refused(capsys, ["explore", folder, "--text", "a"])
    assert str(folder) in said and package in said


def test_a_missing_part_of_the_weights_is_named(mixtral, tmp_path, capsys):
    folder = tmp_path / "parts"
    shutil.copytree(mixtral, folder)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    said = refused(capsys, ["explore", folder, "--text", "a"])
    assert "model-00002-of-00002.safetensors: missing" in said


@pytest.fixture
def adapter(mixtral, tmp_path) -> Path:
    """A LoRA adapter on the attention of `mixtral`, as peft saves it, that changes something."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(mixtral)
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_opens_with_its_base(adapter, mixtral):
    assert check_openable(adapter) == (adapter, "adapter")
    (base, _), (model, tokenizer) = open_model(mixtral), open_model(adapter)
    ids = torch.arange(8)[None]
    assert type(model) is type(base) and len(tokenizer) == 4096
    q, own = (m.model.layers[0].self_attn.q_proj.weight for m in (base, model))
    assert not torch.equal(q, own) and not torch.equal(base(ids).logits, model(ids).logits)


def test_an_adapter_without_its_base_says_what_it_is(adapter, capsys):
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    for base, words in (
        ("nobody-has-this", "nobody-has-this"),
        ("mini-v2", "a model of transformers"),
        (None, "adapter_config.json: base_model_name_or_path: got None"),
    ):
        config["base_model_name_or_path"] = base
        (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        said = refused(capsys, ["explore", adapter, "--text", "a"])
        assert words in said and "adapter" in said


def test_the_start_token_of_a_chat_template_is_read_once(mixtral):
    from tokenizers.processors import TemplateProcessing

    model, tokenizer = open_model(mixtral)
    start = ("<|start|>", tokenizer.convert_tokens_to_ids("<|start|>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|start|> $A", special_tokens=[start]
    )
    once = read_text(model, tokenizer, "<|start|><|user|>a list")
    assert once.labels.count("<|start|>") == 1 and once.pieces[0] == "<|start|>"
    assert read_text(model, tokenizer, "a list").labels[0] == "<|start|>"


def test_half_a_character_is_refused_by_name():
    model = LanguageModel(ModelConfig.preset("tiny"))
    with pytest.raises(ValueError, match="text: got"):
        read_text(model, load_tokenizer(), "a \ud83d")


def test_a_reader_that_has_gone_is_no_trouble(tmp_path):
    save_checkpoint(LanguageModel(ModelConfig.preset("tiny")), tmp_path / "m", load_tokenizer())
    command = [sys.executable, "-m", "moe_lib", "explore", str(tmp_path / "m"), "--text", "a"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "p.html")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait() == 141 and said == b"" and (tmp_path / "p.html").is_file()
