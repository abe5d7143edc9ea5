"""A trace without its model: read as a text, opened in the explorer, written as a page."""

import json

import numpy as np
import pytest
import torch

from moe_lib import RoutingTrace, explore, load_checkpoint, trace_routing
from moe_lib.__main__ import main
from moe_lib.tracing import load_trace, open_trace, read_trace
from moe_lib.views import affinity_figure

RANDOM = np.random.default_rng(1)
EXPERTS = np.stack([[RANDOM.permutation(16)[:2] for _ in range(3)] for _ in range(9)])


@pytest.fixture(scope="module")
def mini():
    model, tokenizer = load_checkpoint("mini-v2")
    ids = tokenizer("def area(radius):\n    return 3.14", add_special_tokens=False)["input_ids"]
    return model, tokenizer, ids[:9]


def test_reading_of_a_trace_names_its_tokens(mini):
    _, tokenizer, ids = mini
    trace = RoutingTrace.from_arrays([EXPERTS[:4], EXPERTS], [ids[:4], ids], n_experts=16)
    reading = read_trace(trace, tokenizer, row=1)
    assert reading.text == tokenizer.decode(ids) and len(reading) == 9
    assert reading.predictions == () and reading.next is None
    assert torch.equal(reading.trace.layers[2].experts[0], torch.from_numpy(EXPERTS[:, 2]))
    short = read_trace(trace, tokenizer, row=0)
    assert len(short) == 4 and short.trace.real.all()
    assert read_trace(trace, tokenizer, 1, max_tokens=5).n_cut == 4
    assert read_trace(RoutingTrace.from_arrays(EXPERTS)).labels[:2] == ("token 0", "token 1")
    assert read_trace(trace).labels[0] == f"#{ids[0]}"
    with pytest.raises(ValueError, match="row: got 2; wants below 2"):
        read_trace(trace, row=2)


def test_explorer_without_a_model(mini, tmp_path):
    _, tokenizer, ids = mini
    explorer = explore(
        trace=RoutingTrace.from_arrays(EXPERTS, ids, n_experts=16), tokenizer=tokenizer
    )
    explorer.layer = 2
    explorer.select_token(4)
    first, second = EXPERTS[4, 2]
    assert f"is sent to expert {first}, expert {second}." in explorer.summary
    for change in (
        lambda: setattr(explorer, "text", "Another."),
        lambda: setattr(explorer, "compare_text", "Another."),
        lambda: setattr(explorer, "k", 1),
        lambda: explorer.switch_off([1]),
    ):
        with pytest.raises(ValueError, match="a trace without its model"):
            change()
    assert "need the model" in explorer.k_note and explorer.text_area.disabled
    layer = explorer.panel.payload["layers"][0]
    assert layer["weights"] is None and layer["scores"] is None
    explorer.figure()
    page = explorer.save_html(tmp_path / "page.html").read_text()
    assert "radius" in page
    with pytest.raises(ValueError, match="reading: got 'no scores in layer 0'"):
        affinity_figure(explorer.reading, 0)


def test_the_same_trace_with_and_without_its_model(mini):
    model, tokenizer, ids = mini
    traced = trace_routing(model, torch.tensor([ids]))
    own = np.stack([layer.experts[0].numpy() for layer in traced.layers], 1)
    made = RoutingTrace.from_arrays(own, ids, config=model.config)
    for one, other in zip(made.layers, traced.layers, strict=True):
        assert (one.index, one.name, one.n_experts) == (other.index, other.name, other.n_experts)
        assert one.n_shared == other.n_shared
    assert torch.equal(made.loads(), traced.loads()) and made.n_layers == traced.n_layers


def test_saved_and_opened_again(mini, tmp_path):
    _, _, ids = mini
    for trace in (
        RoutingTrace.from_arrays(EXPERTS, [*ids, 5]),
        RoutingTrace.from_arrays(EXPERTS),
        RoutingTrace.from_arrays(EXPERTS, weights=RANDOM.random(EXPERTS.shape)),
    ):
        again = load_trace(trace.save(tmp_path / "trace.safetensors"))
        assert torch.equal(again.input_ids, trace.input_ids)
        for one, other in zip(again.layers, trace.layers, strict=True):
            assert one.tensors().keys() == other.tensors().keys()
            assert all(torch.equal(one.tensors()[n], other.tensors()[n]) for n in one.tensors())


def test_command_line(mini, tmp_path, capsys):
    _, _, ids = mini
    answer = {
        "choices": [{"routed_experts": EXPERTS.tolist(), "token_ids": ids}],
        "prompt_token_ids": [],
    }
    file, page = tmp_path / "answer.json", tmp_path / "page.html"
    file.write_text(json.dumps(answer))
    call = ["explore", "--trace", str(file), "--tokenizer", "mini-v2", "--config"]
    call += ["data/checkpoints/mini-v2", "--out", str(page)]
    assert main(call) == 0
    assert "Layer 1, 1st choice: 9 tokens" in capsys.readouterr().out
    assert "radius" in page.read_text()
    assert torch.equal(open_trace(file).layers[0].experts[0], torch.from_numpy(EXPERTS[:, 0]))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--trace", "nothing.json"], "nothing.json: no such file"),
        (["mini-v2", "--trace", "a.json"], "MODEL: got 'mini-v2'; wants no --trace"),
        (["--trace", "a.json", "--text", "a"], "--text"),
        (["mini-v2", "--text", "a", "--row", "1"], "--row: got 1; wants --trace"),
        (["--trace", "a.json", "--row", "-1"], "whole number of at least 0"),
    ],
)
def test_command_line_refuses(arguments, said, capsys):
    with pytest.raises(SystemExit) if said.startswith("whole") else _nothing():
        assert main(["explore", *arguments]) != 0
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def _nothing():
    from contextlib import nullcontext

    return nullcontext()
