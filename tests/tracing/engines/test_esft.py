"""Published traces in ESFT's form, written by us: read, counted, and refused by file and line."""

import json
import re

import pytest
import torch

from moe_lib.__main__ import main
from moe_lib.tracing import load_trace
from moe_lib.tracing.cache_statistics import hit_rates, load_of
from moe_lib.tracing.engines.esft import read_esft_traces
from moe_lib.tracing.expert_cache import simulate_expert_cache

LENGTHS = {"law": (5, 3), "intent": (2, 2, 4)}


def line(tokens, seed) -> str:
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(tokens, 64, generator=random)
    experts = scores.topk(6).indices.sort().values  # in no order of weight, as in the files
    numbers = [str(int(e)) for e in experts.flatten()]
    weights = [f"{w:.4f}" for w in torch.rand(tokens * 6, generator=random).tolist()]
    return "\t".join(numbers) + "\t\t" + "\t".join(weights) + "\n"


@pytest.fixture
def folder(tmp_path):
    for task, lengths in LENGTHS.items():
        place = tmp_path / "results/expert_scores" / task
        place.mkdir(parents=True)
        for layer in (1, 2, 10):
            lines = [line(tokens, 100 * layer + n) for n, tokens in enumerate(lengths)]
            (place / f"expert_weights_{layer}.txt").write_text("".join(lines))
        (place / "summary.json").write_text("{}")
    return tmp_path


def test_texts_layers_and_experts_are_those_of_the_files(folder):
    traces = read_esft_traces(folder)
    assert list(traces) == ["intent", "law"]
    law = traces["law"]
    assert [layer.index for layer in law.layers] == [1, 2, 10]
    assert law.real.sum(1).tolist() == [5, 3] and law.domains == ("law", "law")
    text = (folder / "results/expert_scores/law/expert_weights_10.txt").read_text()
    numbers, weights = text.split("\n")[1].split("\t\t")
    pairs = list(zip(map(int, numbers.split()), map(float, weights.split()), strict=True))
    layer = law.layer(10)
    for token in range(3):
        wanted = sorted(pairs[6 * token : 6 * token + 6], key=lambda pair: -pair[1])
        assert layer.experts[1, token].tolist() == [expert for expert, _ in wanted]
        assert layer.weights[1, token].tolist() == pytest.approx([w for _, w in wanted])
    counts = torch.zeros(64, dtype=torch.int64)
    for number in re.findall(r"\d+", re.sub(r"\t\t.*", "", text)):
        counts[int(number)] += 1
    assert torch.equal(law.load(10), counts)
    scores = folder / "results/expert_scores"
    assert list(read_esft_traces(scores)) == ["intent", "law"]
    assert list(read_esft_traces(scores / "law", layers=[2])) == ["law"]


def test_the_command_writes_statistics_and_traces_that_agree(folder, tmp_path, capsys):
    out, kept = tmp_path / "new/routing.json", tmp_path / "kept"
    assert main(["traces", "esft", str(folder), "--out", str(out), "--save", str(kept)]) == 0
    said = capsys.readouterr().out
    assert "law: 2 texts, 8 tokens, layers 1 to 10" in said and str(out) in said
    content = json.loads(out.read_text())
    assert "MIT" in content["about"]["licence"] and str(tmp_path) not in out.read_text()
    trace = load_trace(kept / "law.safetensors")
    assert torch.equal(load_of(content["tasks"], "law"), trace.loads())
    rates = content["tasks"]["law"]["hit_rates"]
    assert set(rates) == {
        *("lru", "lfu", "belady", "static", "static in-sample", "lru shuffled", "lru uniform")
    }
    replay = simulate_expert_cache(trace, 16, "belady")
    assert rates["belady"]["all"] == pytest.approx(replay.hit_rate, abs=1e-4)
    assert rates["belady"]["all"] >= rates["lru"]["all"] and len(rates["lru"]["layers"]) == 3
    assert "static" not in hit_rates(trace, 16)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda text: text.replace("\t\t", "\t", 1), "line 1: got"),
        (lambda text: text.replace("\t\t", "\tx\t\t", 1), "line 1: invalid literal"),
        (lambda text: re.sub(r"^\d+\t", "", text), "line 1: got '29 experts and 30 weights'"),
        (lambda text: re.sub(r"^\d+", "64", text), "line 1: got 64; wants 0 to 63"),
        (lambda text: re.sub(r"^\d+\t(\d+)", r"\1\t\1", text), "6 different experts at token 0"),
        (lambda text: text.replace("\t\t0", "\t\t-0", 1), "negative"),
        (lambda text: re.sub(r"\t\t[\d.]+", "\t\tnan", text, count=1), "no number"),
        (lambda text: re.sub(r"^\d+\t(.*)\t\t[\d.]+\t", r"\1\t\t", text), "6 for every token"),
        (lambda text: text + line(1, 0), "has 3 lines; wants 2"),
        (lambda text: line(4, 0) + text.split("\n")[1] + "\n", "line 1: has 4 tokens; wants 5"),
        (lambda text: text + "\n", "line 3: got ''"),
        (lambda text: "", "is empty"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(folder, change, says, capsys):
    path = folder / "results/expert_scores/law/expert_weights_2.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError) as caught:
        read_esft_traces(folder)
    assert str(caught.value).startswith(str(path)) and says in str(caught.value)
    assert main(["traces", "esft", str(folder)]) != 0
    assert len(capsys.readouterr().err.strip().split("\n")) == 1


def test_what_is_not_there_is_said(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (empty, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="expert_weights_LAYER"):
            read_esft_traces(place)
    with pytest.raises(ValueError, match="layers: got"):
        read_esft_traces(folder, layers=[3])
    with pytest.raises(ValueError, match="a layer from 0 to 9"):
        read_esft_traces(folder, num_hidden_layers=10)
