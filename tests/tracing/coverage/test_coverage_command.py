"""`python -m moe_lib coverage`: a folder of transformers, an adapter of peft, and the words."""

import pytest
import torch

from moe_lib.__main__ import main
from moe_lib.text import load_tokenizer
from tests.tracing.families import build


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    base, adapter = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("adapter")
    tokenizer = load_tokenizer("course")
    model = build("qwen2_moe", vocab_size=len(tokenizer))
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    adapted.save_pretrained(adapter)
    return base, adapter


def test_an_adapter_and_a_text(folders, capsys):
    base, adapter = map(str, folders)
    assert main(["coverage", base, "--adapter", adapter, "--text", "The key would not turn."]) == 0
    said = capsys.readouterr().out
    assert "routed experts" in said and "Adapted: attention (" in said
    assert "changed_choices" in said and "of all choices change, most in layer" in said


def test_a_model_against_itself(folders, capsys):
    base = str(folders[0])
    assert main(["coverage", base, "--base", base, "--text", "The key"]) == 0
    said = capsys.readouterr().out
    assert "Neither adapted by peft nor quantised." in said
    assert "No token changes an expert in any layer." in said


@pytest.mark.parametrize(
    "more, words",
    [
        (["--text", "a"], "--adapter FOLDER or --base MODEL"),
        (["--adapter", "nowhere"], "adapter_config.json: missing"),
        (["--adapter", "a", "--base", "b"], "either --adapter or --base"),
    ],
)
def test_what_does_not_go_together(folders, capsys, more, words):
    assert main(["coverage", str(folders[0]), *more]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and len(said.splitlines()) == 1
