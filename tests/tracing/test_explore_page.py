"""`python -m moe_lib explore`: one page from a model by name or folder, and no foreign code unless
allowed."""

import json
import pickle
import socket
from pathlib import Path

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.__main__ import main
from moe_lib.opening import open_model
from moe_lib.text import load_tokenizer
from moe_lib.tracing import read_text
from moe_lib.training import save_checkpoint
from moe_lib.views.explorer.export import write_reading, write_readings
from moe_lib.views.explorer.payload import reading_payload, unpack
from moe_lib.views.explorer.readings import Readings
from tests.tracing.families import build

TEXT = "The list is sorted in place, and </script> None is returned."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny Mixtral, as transformers saves it."""
    path = tmp_path_factory.mktemp("hub") / "mixtral"
    build("mixtral", vocab_size=4096, max_position_embeddings=256).save_pretrained(path)
    load_tokenizer().save_pretrained(path)
    return path


def state_of(page: Path) -> dict:
    return json.loads(
        page.read_text(encoding="utf-8").split('id="state">')[1].split("</script>")[0]
    )


@pytest.mark.parametrize("name", ["mini-causal", "mini-masked"])
def test_a_checkpoint_of_the_course_by_its_name(name, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["explore", name, "--text", TEXT, "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert str(page) in said and "1st choice" in said
    model, tokenizer = open_model(name)
    assert state_of(page)["payload"] == json.loads(
        json.dumps(reading_payload(read_text(model, tokenizer, TEXT)))
    )
    assert f"Which experts of {name} read" in page.read_text(encoding="utf-8")


def test_a_folder_of_transformers(folder, tmp_path, capsys):
    page, text = tmp_path / "page.html", tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    assert main(["explore", str(folder), "--text-file", str(text), "--out", str(page)]) == 0
    model, tokenizer = open_model(folder)
    reading, layer = read_text(model, tokenizer, TEXT), state_of(page)["payload"]["layers"][1]
    assert (
        unpack({"data": layer["experts"], "scale": 1}).tolist()
        == reading.trace.layer(1).experts.flatten().tolist()
    )
    assert not model.training and "https:" not in page.read_text(encoding="utf-8").replace(TEXT, "")


def test_a_folder_of_ours(tmp_path, capsys):
    model = LanguageModel(ModelConfig.preset("tiny"))
    save_checkpoint(model, tmp_path / "mine", load_tokenizer())
    assert (
        main(["explore", str(tmp_path / "mine"), "--text", "a", "--out", str(tmp_path / "p.html")])
        == 0
    )
    save_checkpoint(model, tmp_path / "bare")
    assert (
        main(["explore", str(tmp_path / "bare"), "--text", "a", "--out", str(tmp_path / "p.html")])
        == 1
    )
    assert "no tokenizer.json" in capsys.readouterr().err


def test_27_layers_64_experts_512_tokens_stay_below_5_mb(tmp_path):
    config = ModelConfig(
        vocab_size=4096,
        hidden_size=16,
        num_hidden_layers=27,
        num_attention_heads=2,
        intermediate_size=16,
        n_routed_experts=64,
        num_experts_per_tok=6,
        moe_intermediate_size=4,
        first_k_dense_replace=1,
        n_shared_experts=2,
        max_position_embeddings=512,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    text = Path(__file__).read_text(encoding="utf-8") * 3
    model = LanguageModel(config)
    reading = read_text(model, load_tokenizer(), text, 512)
    page = write_reading(tmp_path / "page.html", reading)
    assert len(reading) == 512 and page.stat().st_size < 5e6
    payload = state_of(page)["payload"]
    assert len(payload["layers"]) == 26 and payload["dense"] == [0]
    assert [one["shared"] for one in payload["layers"]] == [2] * 26

    readings = Readings(model, load_tokenizer(), 512, None, None, ("one", "two"))
    readings.read(text, text[5000:], {}, None)  # two texts of 512 tokens on one page
    page = write_readings(tmp_path / "two.html", readings)
    assert len(readings.compared) == 512 and page.stat().st_size < 5e6


def test_compared_with_another_text_or_another_model(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    arguments = ["explore", str(folder), "--text", TEXT, "--out", str(page)]
    assert main([*arguments, "--compare-text", "None </script>"]) == 0
    assert "“First text” against “Second text”, layer 0" in capsys.readouterr().out
    state = state_of(page)["comparison"]
    model, tokenizer = open_model(folder)
    other = json.loads(
        json.dumps(reading_payload(read_text(model, tokenizer, "None </script>"), 12))
    )
    assert state["other"] == other and not state["same"] and set(state["words"]) == {"0", "1"}
    assert "None &lt;/script&gt;</pre>" in page.read_text(encoding="utf-8")

    assert main([*arguments, "--compare-model", "mini-causal"]) == 0
    said = capsys.readouterr().out
    assert "Layer 0 cannot be compared: “mini-causal” has no layer 0" in said  # that one is dense
    state = state_of(page)["comparison"]
    assert state["names"] == ["mixtral", "mini-causal"] and state["twoModels"]
    assert "Which experts of mixtral and mini-causal read" in page.read_text(encoding="utf-8")
    assert main([*arguments, "--compare-model", "nothing-of-that-name"]) == 1
    with pytest.raises(SystemExit):
        main([*arguments, "--compare-model", "mini-causal", "--compare-text", "a"])


STRANGE = """
from pathlib import Path
from transformers import MixtralConfig, MixtralForCausalLM

Path({marker!r}).write_text("it ran")


class StrangeConfig(MixtralConfig):
    model_type = {model_type!r}


class StrangeForCausalLM(MixtralForCausalLM):
    config_class = StrangeConfig
"""


def with_own_code(folder: Path, target: Path, model_type: str) -> Path:
    """A copy of `folder` that asks for a class of its own; returns the file that this code writes
    when it runs."""
    marker = target.parent / f"{target.name}.ran"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": model_type,
        "architectures": ["StrangeForCausalLM"],
        "auto_map": {
            "AutoConfig": "strange.StrangeConfig",
            "AutoModelForCausalLM": "strange.StrangeForCausalLM",
        },
    }
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code = STRANGE.format(marker=str(marker), model_type=model_type)
    (target / "strange.py").write_text(code, encoding="utf-8")
    return marker


def test_code_of_the_model_does_not_run_unless_allowed(folder, tmp_path, capsys, monkeypatch):
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    marker = with_own_code(folder, tmp_path / "strange", "strange")
    arguments = [
        "explore",
        str(tmp_path / "strange"),
        "--text",
        "a",
        "--out",
        str(tmp_path / "p.html"),
    ]
    assert main(arguments) == 1 and not marker.exists()
    assert "--trust-remote-code" in capsys.readouterr().err
    assert main([*arguments, "--trust-remote-code"]) == 0 and marker.exists()


def test_a_known_architecture_uses_the_installed_class(folder, tmp_path):
    marker = with_own_code(folder, tmp_path / "known", "mixtral")
    model, _ = open_model(tmp_path / "known")
    assert type(model).__module__.startswith("transformers.models.mixtral") and not marker.exists()


class Trap:
    def __init__(self, marker: str):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def test_pickled_weights_are_refused_unread(folder, tmp_path):
    bad, marker = tmp_path / "pickled", tmp_path / "ran"
    bad.mkdir()
    for path in folder.glob("*.json"):
        (bad / path.name).write_bytes(path.read_bytes())
    (bad / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(str(marker))))
    with pytest.raises(ValueError, match="pytorch_model.bin, a format that may run code"):
        open_model(bad)
    with pytest.raises(ValueError, match="pytorch_model.bin"):
        open_model(bad, trust_remote_code=True)
    assert not marker.exists()


def test_what_is_missing_or_damaged_is_named(folder, tmp_path, monkeypatch):
    for name, message in (
        ("nothing-of-that-name", "mini-causal"),
        (tmp_path / "no", "no such folder"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            open_model(name)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="config.json: missing"):
        open_model(empty)
    (empty / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="config.json: not valid JSON"):
        open_model(empty)
    (empty / "config.json").write_text('{"model_type": "mixtral"}', encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no safetensors file"):
        open_model(empty)


def test_without_network_a_remote_name_fails_at_once_and_clearly(monkeypatch):
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError("no name service")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(
        FileNotFoundError, match="nobody/nothing: could not be fetched .there is no network"
    ):
        open_model("nobody/nothing")
    assert len(asked) < 4  # the Hub's own library would try again for most of a minute


def test_dense_models_and_wrong_arguments_end_with_a_sentence(tmp_path, capsys):
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    ).save_pretrained(tmp_path / "llama")
    load_tokenizer().save_pretrained(tmp_path / "llama")
    page = tmp_path / "p.html"
    assert main(["explore", str(tmp_path / "llama"), "--text", "a", "--out", str(page)]) == 1
    assert "LlamaForCausalLM" in capsys.readouterr().err
    assert not page.exists()
