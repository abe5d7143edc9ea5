"""Wrong inputs of the same tester: records built by hand, and arguments that are contradicted."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from moe_lib import LanguageModel, ModelConfig
from moe_lib.text import MaskingIds, encode_corpus, load_tokenizer, pack
from moe_lib.text.order import seeded_generator
from moe_lib.text.packing import Packed
from moe_lib.tracing import LayerTrace, RoutingTrace, read_trace
from moe_lib.tracing.engines.trace_sources import open_trace
from moe_lib.tracing.masked_words import predict_masked
from moe_lib.training.optimiser import warmup_cosine
from moe_lib.tuning.examples import Encoded
from moe_lib.tuning.metrics import accuracy, macro_f1
from moe_lib.views.cache_calculator import CacheCalculator
from moe_lib.views.explorer import explore
from moe_lib.views.explorer.figure import explorer_figure

IDS = torch.arange(10).view(2, 5)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("mixture")


# Records that are built by hand.

TRACE_IDS, REAL = torch.ones(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool)


def layer_trace(**changes) -> LayerTrace:
    fields = dict(name="a", index=0, n_experts=2, experts=torch.zeros(1, 2, 1, dtype=torch.int64))
    return LayerTrace(**{**fields, **changes})


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", 5), ("index", "x"), ("index", -1), ("n_experts", -2), ("experts", "e")],
)
def test_a_layer_of_a_trace(field, value):
    with pytest.raises((ValueError, TypeError), match=f"^{field}: got .*; wants "):
        layer_trace(**{field: value})


@pytest.mark.parametrize(
    ("names", "layers"),
    [
        ("layers", "layers"),
        (r"layers\[0\]", [5]),
        ("a experts", [layer_trace(experts=torch.full((1, 2, 1), 5))]),
        ("a experts", [layer_trace(experts=torch.zeros(1, 3, 1, dtype=torch.int64))]),
        ("a experts", [layer_trace(experts=torch.zeros(1, 2, 1))]),
    ],
)
def test_a_trace_of_layers_that_do_not_fit(names, layers):
    with pytest.raises((ValueError, TypeError), match=f"^{names}: got .*; wants "):
        RoutingTrace(layers=layers, input_ids=TRACE_IDS, real=REAL)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("documents", lambda: Packed(IDS, IDS[:1])),
        ("input_ids", lambda: Packed([1, 2], IDS)),
        ("vocab_size", lambda: MaskingIds(1, (2,), 0)),
        ("mask_token_id", lambda: MaskingIds(-1, (2,), 5)),
        (r"rows\[0\]", lambda: Encoded([{"input_ids": "abc"}], 0)),
        (r"token_lists\[0\]", lambda: pack([[1, True, 3]], 2, 2)),
        ("warmup_steps", lambda: warmup_cosine(0, 5, 9)),
        (r"numbers\[0\]", lambda: seeded_generator("a")),
        (r"numbers\[1\]", lambda: seeded_generator(1, -1)),
        (r"numbers\[0\]", lambda: seeded_generator(None)),
        ("experts", lambda: RoutingTrace.from_arrays(np.zeros((0, 2, 1), int))),
        (r"predicted\[0\]", lambda: macro_f1([0.5], [0])),
        (r"targets\[0\]", lambda: macro_f1(["a"], [0])),
        (r"targets\[0\]", lambda: accuracy(["a"], [None])),
        ("dpi", lambda: CacheCalculator().png(dpi=0)),
        ("dpi", lambda: CacheCalculator().png(dpi=True)),
        ("dpi", lambda: CacheCalculator().png(dpi=10**9)),
        ("tokenizer", lambda: RoutingTrace.from_vllm(ANSWER, tokenizer=5)),
        ("n_layers", lambda: RoutingTrace.from_vllm(ANSWER, n_layers=5)),
        ("k", lambda: RoutingTrace.from_vllm(ANSWER, k=2)),
    ],
)
def test_what_does_not_fit_is_named(argument, call):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: got .*; wants "):
        call()


ANSWER = {"choices": [{"token_ids": [1, 2, 3], "routed_experts": [[[0]], [[1]], [[0]]]}]}


def test_the_right_calls_work():
    assert RoutingTrace.from_vllm(ANSWER, n_layers=1, k=1).loads().tolist() == [[2, 1]]
    assert accuracy(["a"], ["a"]) == macro_f1([True, False], [1, 0]) == 1.0


@pytest.mark.parametrize(
    ("column", "documents"),
    [
        ("domain", [{"text": "a b c d", "domain": 3}]),
        ("text", [{"text": None, "domain": "x"}]),
    ],
)
def test_columns_that_hold_no_texts(tokenizer, column, documents):
    with pytest.raises(TypeError, match=rf"^dataset\['{column}'\]\[0\]: got .*; wants a text"):
        encode_corpus(Dataset.from_list(documents), tokenizer, 2)


def test_facts_beside_a_file_that_says_them(tmp_path):
    trace = RoutingTrace([layer_trace()], TRACE_IDS, REAL)
    path = trace.save(tmp_path / "t.safetensors")
    facts = {"n_experts": 99, "k": 1, "n_layers": 3, "config": {"a": 1}, "tokenizer": 5}
    for name, value in facts.items():
        with pytest.raises((ValueError, TypeError), match=f"^{name}: got .*; wants "):
            open_trace(path, **{name: value})


def test_arguments_that_belong_to_something_else(tokenizer):
    trace = RoutingTrace([layer_trace()], TRACE_IDS, REAL)
    with pytest.raises(ValueError, match="^text: got .*; wants None beside a trace"):
        explore(trace=trace, text="hello")
    model = LanguageModel(ModelConfig.preset("tiny", vocab_size=len(tokenizer)))
    with pytest.raises(ValueError, match="^row: got 3; wants 0 without a trace"):
        explore(model, tokenizer, "a", row=3)
    with pytest.raises(ValueError, match="^compare_tokenizer: got .*; wants None without"):
        explore(model, tokenizer, "a", compare_tokenizer=tokenizer)
    with pytest.raises(ValueError, match="^side: got 1; wants 0"):
        explorer_figure(read_trace(trace), 0, side=1)
    with pytest.raises(ValueError, match="^ids: got 'the id 1000000'; wants ids from 0"):
        predict_masked(model, tokenizer, [10**6], [], [])
