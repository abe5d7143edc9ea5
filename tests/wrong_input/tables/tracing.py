"""Wrong input of the tracing room."""

from functools import cache

import torch

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.text import load_tokenizer
from moe_lib.tracing import RoutingTrace, read_text
from tests.wrong_input.table import (
    COUNT,
    MODEL,
    NAN,
    NATURAL,
    PATH,
    TEXT,
    TOKENIZER,
    Entry,
    Made,
)

IDS = torch.randint(0, 60, (4, 5), generator=torch.Generator().manual_seed(0))

MASK = torch.ones(4, 5, dtype=torch.long)

WRONG_IDS = [
    None,
    "ids",
    [[1, 2]],
    IDS.float(),
    IDS.bool(),
    IDS[0],
    IDS[None],
    IDS[:0],
    IDS - 100,
    IDS + 10**6,
]

WRONG_MASK = ["mask", [[1]], MASK[0], MASK[:, :3], MASK * 2, -MASK, MASK * NAN, (1.0 - MASK) - 1e9]

TRACE = [None, "trace", 3, {}, [], torch.zeros(2, 2)]

INDEX = [-1, 0.5, "1", True, None, NAN, 99, [1]]

SEED = [-1, 0.5, True, "0", None, NAN, 2**63]

OPTIONAL_COUNT = [value for value in COUNT if value is not None]

OFF = [3, "0", [0], {"1": [0]}, {1: 0}, {1: "0"}, {1: [0.5]}, {1: [-1]}, {1: [99]}, {99: [0]}]

OFF += [{True: [0]}, {1.0: [0]}, {1: None}, {1: [True]}, {-1: [0]}, {1: [0, 1, 2, 3, 4, 5, 6]}]


@cache
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", vocab_size=4096, causal=True)).eval()


@cache
def dense() -> LanguageModel:
    return LanguageModel(ModelConfig.preset("tiny", n_routed_experts=0, n_shared_experts=0))


@cache
def trace() -> RoutingTrace:
    found = trace_routing(model(), IDS)
    return RoutingTrace(found.layers, found.input_ids, found.real, ("a", "a", "b", "b"))


@cache
def reading():
    return read_text(model(), load_tokenizer("course"), "some text")


def within(name: str, **arguments):
    """A context manager that is entered and left."""
    from tests.wrong_input.table import find

    with find(name)(**arguments):
        pass


def on_trace(function: str, wrong: dict, says: dict | None = None, **valid) -> Entry:
    """A function of the analysis: of a trace and the number of a layer."""
    return Entry(
        f"moe_lib.tracing.analysis.{function}",
        lambda: dict(trace=trace(), **{"index": 1, **valid}),
        {"trace": TRACE, "index": INDEX, **wrong},
        says or {},
    )


DENSE = Made("a dense one", lambda _: dense())

ENTRIES = [
    Entry(
        "moe_lib.tracing.trace_routing",
        lambda: dict(model=model(), input_ids=IDS, attention_mask=MASK),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), DENSE],
            "input_ids": WRONG_IDS,
            "attention_mask": WRONG_MASK,
        },
    ),
    Entry(
        "moe_lib.tracing.trace_generation",
        lambda: dict(model=model(), input_ids=IDS, max_new_tokens=2, attention_mask=MASK),
        {
            "model": [*MODEL, DENSE],
            "input_ids": WRONG_IDS,
            "max_new_tokens": COUNT,
            "attention_mask": WRONG_MASK,
            "num_beams": [3, 0, "1"],
            "num_return_sequences": [2],
            "use_cache": [False, "no"],
        },
    ),
    Entry(
        "moe_lib.tracing.read_text",
        lambda: dict(model=model(), tokenizer=load_tokenizer("course"), text="some text"),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), DENSE],
            "tokenizer": TOKENIZER,
            "text": TEXT,
            "max_tokens": COUNT,
            "off": OFF,
            "k": [*OPTIONAL_COUNT, 99],
        },
    ),
    Entry(
        "moe_lib.tracing.experts_off",
        lambda: dict(model=model(), off={1: [0]}),
        {"model": MODEL, "off": [*OFF, None]},
        call=lambda arguments: within("moe_lib.tracing.experts_off", **arguments),
    ),
    Entry(
        "moe_lib.tracing.experts_per_token",
        lambda: dict(model=model(), k=1),
        {"model": [*MODEL, DENSE], "k": [*COUNT, 99]},
        call=lambda arguments: within("moe_lib.tracing.experts_per_token", **arguments),
    ),
    Entry("moe_lib.tracing.largest_k", lambda: dict(model=model()), {"model": [*MODEL, DENSE]}),
    Entry("moe_lib.tracing.trained_k", lambda: dict(model=model()), {"model": [*MODEL, DENSE]}),
    Entry("moe_lib.tracing.load_trace", lambda: dict(path=trace().save("/tmp")), {"path": PATH}),
    Entry(
        "moe_lib.tracing.save_trace",
        lambda: dict(trace=trace(), path="/tmp"),
        {"trace": TRACE, "path": PATH},
    ),
    Entry(
        "moe_lib.tracing.join_traces",
        lambda: dict(traces=[trace(), trace()]),
        {"traces": [None, 3, "traces", [], [None], [trace, 3], {}]},
    ),
    Entry(
        "moe_lib.tracing.RoutingTrace",
        lambda: dict(layers=trace().layers, input_ids=IDS, real=MASK.bool(), domains=list("aabb")),
        {
            "input_ids": [None, [[1]], IDS.float(), IDS[0]],
            "real": [None, [[1]], MASK, MASK[0].bool(), MASK[:, :2].bool()],
            "domains": ["aabb", 3, [1, 2, 3, 4], ["a"], ["a", "b", "c", None]],
        },
    ),
    Entry(
        "moe_lib.tracing.RoutingTrace.layer",
        lambda: dict(index=1),
        {"index": INDEX},
        call=lambda arguments: trace().layer(**arguments),
    ),
    Entry(
        "moe_lib.tracing.RoutingTrace.load",
        lambda: dict(index=1),
        {"index": INDEX},
        call=lambda arguments: trace().load(**arguments),
    ),
    Entry(
        "moe_lib.tracing.RoutingTrace.filter",
        lambda: dict(domains=["a"], layers=[1], tokens=MASK.bool()),
        {
            "domains": [3, ["c"], [3], "c", {"a": 1, 3: 2}],
            "layers": [3, "1", [99], [0.5], [None], [True]],
            "tokens": ["mask", [[True]], MASK[0].bool(), MASK[:, :2].bool()],
        },
        call=lambda arguments: trace().filter(**arguments),
    ),
    Entry(
        "moe_lib.tracing.RoutingTrace.to_pandas",
        lambda: dict(tokenizer=load_tokenizer("course")),
        {"tokenizer": ["course", 3, {}, [], b"bytes"]},
        call=lambda arguments: trace().to_pandas(**arguments),
    ),
    Entry(
        "moe_lib.tracing.compare_readings",
        lambda: dict(one=reading(), other=reading()),
        {"one": [*TRACE, trace], "other": [*TRACE, trace], "seed": SEED},
    ),
    Entry(
        "moe_lib.tracing.changed_predictions",
        lambda: dict(before=reading(), after=reading()),
        {"before": [*TRACE, trace], "after": [*TRACE, trace]},
    ),
    Entry(
        "moe_lib.tracing.masked_words.split_words",
        lambda: dict(text="some text", tokenizer=load_tokenizer("course"), max_tokens=9),
        {"text": TEXT, "tokenizer": TOKENIZER, "max_tokens": COUNT},
    ),
    Entry(
        "moe_lib.tracing.attention_maps.attention_maps",
        lambda: dict(model=model(), tokenizer=load_tokenizer("course"), text="some text"),
        {"model": MODEL, "tokenizer": TOKENIZER, "text": TEXT, "max_tokens": COUNT},
    ),
    Entry(
        "moe_lib.tracing.attention_maps.attention_weights",
        lambda: dict(model=model(), input_ids=IDS),
        {"model": MODEL, "input_ids": WRONG_IDS},
    ),
    Entry(
        "moe_lib.tracing.interventions.disabling.strongest_experts_off",
        lambda: dict(model=model(), n=1),
        {"model": [*MODEL, DENSE], "n": [*NATURAL, 99]},
        call=lambda arguments: within(
            "moe_lib.tracing.interventions.disabling.strongest_experts_off", **arguments
        ),
    ),
    Entry(
        "moe_lib.tracing.interventions.disabling.random_experts_off",
        lambda: dict(model=model(), n=1),
        {"model": [*MODEL, DENSE], "n": [*NATURAL, 99], "seed": SEED},
        call=lambda arguments: within(
            "moe_lib.tracing.interventions.disabling.random_experts_off", **arguments
        ),
    ),
    on_trace("coactivation.coactivation", {}),
    on_trace("coactivation.expected_coactivation", {"shuffles": [*COUNT, 1], "seed": SEED}),
]
