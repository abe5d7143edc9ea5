"""The atlas finds the habits that a made-up routing has, and no others; parts go on."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import load_tokenizer
from moe_lib.tracing.atlas import atlas_of, cut_windows, read_windows
from moe_lib.tracing.trace_files import load_trace
from tests.tracing.atlas_trace import made_up


@pytest.fixture(scope="module")
def atlas():
    return atlas_of(made_up())


def test_a_word_of_one_expert(atlas):
    for layer in atlas.layers:
        (best,) = layer.tokens[0]
        assert (best.token, best.share) == (3, 1.0) and best.by_chance < 0.2
        ids = atlas.read.trace.input_ids
        assert best.count == int((ids == 3).sum())
        assert float(layer.load[0]) == pytest.approx(best.count / ids.numel())
        assert layer.tokens[5][0].share < 0.6  # the rest is chance


def test_a_domain_of_one_expert(atlas):
    domains = atlas.layers[0].domains
    assert atlas.domain_names == ("even", "odd") and atlas.domain_tokens == (1200, 1200)
    assert domains.share[:, 1].tolist() == [0.0, 1.0]
    assert domains.low[1, 1] == domains.high[1, 1] == 1.0
    low, high = domains.by_chance
    assert low[1, 1] > 0.2 and high[1, 1] < 0.8
    within = (domains.high[:, 0] >= low[:, 0]) & (domains.low[:, 0] <= high[:, 0])
    assert within.all()  # expert 0 has no domain


def test_positions_and_partners_by_loops(atlas):
    layer, trace = atlas.layers[1], atlas.read.trace
    experts = trace.layers[1].experts
    here = experts[:, 5:10]  # the second eighth of 40
    expected = float((here == 4).any(-1).double().mean())
    assert float(layer.positions.share[1, 4]) == pytest.approx(expected)
    both = ((experts == 0).any(-1) & (experts == 1).any(-1)).sum()
    assert float(layer.together[0, 1]) == pytest.approx(float(both / (experts == 0).any(-1).sum()))
    assert layer.together[0, 1] > layer.together_by_chance[0, 1]


def test_passages_are_the_fullest(atlas):
    layer, experts = atlas.layers[0], atlas.read.trace.layers[0].experts
    rows = {one.row for one in layer.passages[1]}
    assert len(rows) == 3 and all(row % 2 == 1 for row in rows)  # of the domain "odd"
    assert all(all(one.taken) for one in layer.passages[1])
    one = layer.passages[0][0]
    taken = (experts[one.row, one.start : one.end] == 0).any(-1).tolist()
    assert list(one.taken) == taken
    fullest = max(
        float((experts[row, start : start + 24] == 0).any(-1).float().mean())
        for row in range(60)
        for start in (0, 12)
    )
    last = max(float((experts[row, 24:40] == 0).any(-1).float().mean()) for row in range(60))
    assert sum(taken) / len(taken) == pytest.approx(max(fullest, last))


def small():
    torch.manual_seed(0)
    tokenizer = load_tokenizer("course")
    config = ModelConfig.preset("tiny", vocab_size=len(tokenizer), causal=True)
    texts = ["The key would not turn. " * 9, "Prices rose again. " * 20, "A river, a bank."]
    documents = [{"text": text, "domain": "ab"[n % 2]} for n, text in enumerate(texts)]
    return LanguageModel(config).eval(), tokenizer, documents


def test_windows_hold_the_text_and_share_the_tokens():
    _, tokenizer, documents = small()
    windows = cut_windows(tokenizer, documents, max_tokens=60, window=16)
    assert max(len(one.ids) for one in windows) == 16
    by_domain = {d: sum(len(w.ids) for w in windows if w.domain == d) for d in "ab"}
    assert by_domain["b"] == 30 and by_domain["a"] <= 30
    first = "".join(piece for one in windows if one.document == 0 for piece in one.pieces)
    assert first and documents[0]["text"].startswith(first)


def test_an_interrupted_run_goes_on(tmp_path):
    model, tokenizer, documents = small()
    windows = cut_windows(tokenizer, documents, window=2)  # more than one part
    whole = read_windows(model, windows)
    calls = []

    def stops(steps):
        for step in steps:
            if calls:
                raise KeyboardInterrupt
            calls.append(step[0])
            yield step

    with pytest.raises(KeyboardInterrupt):
        read_windows(model, windows, tmp_path / "parts", "m", stops)
    done = sorted((tmp_path / "parts").glob("*.safetensors"))
    assert len(done) == 1
    read_before = done[0].stat().st_mtime_ns
    again = read_windows(model, windows, tmp_path / "parts", "m")
    assert done[0].stat().st_mtime_ns == read_before
    for one, other in zip(again.trace.layers, whole.trace.layers, strict=True):
        assert torch.equal(one.experts, other.experts) and one.scores is None
    done[0].write_bytes(b"half")  # a damaged part is read again
    read_windows(model, windows, tmp_path / "parts", "m")
    assert load_trace(done[0]).layers
    with pytest.raises(ValueError, match="parts of another run"):
        read_windows(model, windows[1:], tmp_path / "parts", "m")
