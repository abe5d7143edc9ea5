"""Wrong input of the views: widgets and figures. What their pages may send is tested in
tests/views/test_wrong_input.py."""

from functools import cache

import torch

from moe_lib import LanguageModel, ModelConfig, trace_routing
from moe_lib.text import load_tokenizer
from moe_lib.tracing import read_text
from moe_lib.tracing.attention_maps import attention_maps
from moe_lib.training.loop import StepReport
from moe_lib.training.recorder import BalanceRecorder
from moe_lib.tuning.tried_text import TriedText
from tests.training.small import RandomBatches, make_model
from tests.views.comparisons import made_up
from tests.wrong_input.table import (
    COUNT,
    INF,
    MODEL,
    NAN,
    NATURAL,
    POSITIVE,
    TEXT,
    TOKENIZER,
    Entry,
    Made,
)

HALF = "half \ud83d"

SENTENCE = "The list is sorted in place."

NAMES = ["ab", ("one",), ("a", "b", "c"), (1, 2), 3, (HALF, "b")]

OPTIONAL_TEXT = [value for value in TEXT if value is not None]

OPTIONAL_MODEL = [value for value in MODEL if value is not None]

OPTIONAL_TOKENIZER = [value for value in TOKENIZER if value is not None]

SEED = [True, 1.5, -1, None, NAN, "0"]

PLACE = [value for value in NATURAL if value is not None]

LAYER = [*NATURAL, 99]

MAPS = [None, 3, "maps", [], {}, [("a", 1)], {"a": None}, {"a": "b"}]


@cache
def tokenizer():
    return load_tokenizer("course")


def _trace():
    return trace_routing(model(), torch.arange(6)[None])


def _flying():
    from moe_lib.views.flying_tokens import FlyingTokens

    return FlyingTokens(_trace())


@cache
def model(causal: bool = True) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", vocab_size=4096, causal=causal)).eval()


@cache
def reading():
    return read_text(model(), tokenizer(), SENTENCE)


@cache
def maps():
    return attention_maps(model(), tokenizer(), SENTENCE)


@cache
def run() -> BalanceRecorder:
    recorder = BalanceRecorder()
    recorder(StepReport({"step": 0, "loss": 1.0, "tokens": 4}, [torch.tensor([3, 1])]))
    return recorder


def answer(text: str) -> TriedText:
    return TriedText("yes", (("yes", 0.7), ("no", 0.3)), None, "", (), "", {})


OPENED = {
    "model": [*MODEL, torch.nn.Linear(2, 2)],
    "tokenizer": TOKENIZER,
    "text": TEXT,
    "max_tokens": COUNT,
    "compare_text": OPTIONAL_TEXT,
    "compare_model": OPTIONAL_MODEL,
    "compare_tokenizer": OPTIONAL_TOKENIZER,
    "names": NAMES,
}

LOOKED_AT = {
    "models": [None, {}, 3, "models", {"a": 3}, {3: None}, {"a": torch.nn.Linear(2, 2)}],
    "tokenizer": TOKENIZER,
    "text": TEXT,
    "max_tokens": COUNT,
}

ROUTED = {"reading": [None, 3, "reading", {}, torch.zeros(2)], "layer": LAYER}

VIEWS, FIGURES = "moe_lib.views.", "moe_lib.views.figures."


def opened(name: str) -> Entry:
    return Entry(
        VIEWS + name, lambda: dict(model=model(), tokenizer=tokenizer(), text=SENTENCE), OPENED
    )


def looked_at(name: str) -> Entry:
    valid = dict(models={"a": model()}, tokenizer=tokenizer(), text=SENTENCE)
    return Entry(VIEWS + name, lambda: dict(valid), LOOKED_AT)


def routed(name: str, wrong: dict, **more) -> Entry:
    return Entry(
        VIEWS + name, lambda: dict(reading=reading(), layer=1, **more), {**ROUTED, **wrong}
    )


ENTRIES = [
    opened("explore"),
    opened("RoutingExplorer"),
    routed("affinity_figure", {"max_tokens": COUNT}),
    routed("token_figure", {"rank": [*COUNT, 99], "expert": [*PLACE, 99]}),
    routed(
        "explorer_figure",
        {
            "rank": [*COUNT, 99],
            "token": [*PLACE, 99],
            "expert": [*PLACE, 99],
            "compared": [3, "reading", {}],
            "names": [*NAMES, None],
            "words": TEXT,
            "side": [2, -1, True, "0", None],
        },
    ),
    Entry(
        VIEWS + "load_figure",
        lambda: dict(trace=reading().trace),
        {"trace": [None, 3, "trace", [], reading]},
    ),
    Entry(VIEWS + "expert_colour", lambda: dict(expert=3), {"expert": NATURAL}),
    Entry(
        VIEWS + "contrast",
        lambda: dict(one="#000000", other="#ffffff"),
        dict.fromkeys(("one", "other"), [None, 3, "red", "#fff", "#gggggg", b"#000000"]),
    ),
    Entry(
        VIEWS + "mask_playground.MaskPlayground",
        lambda: dict(model=model(causal=False), tokenizer=tokenizer(), text=SENTENCE),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2), Made("a causal one", lambda _: model())],
            "tokenizer": TOKENIZER,
            "text": TEXT,
        },
    ),
    Entry(
        VIEWS + "router_playground.RouterPlayground",
        lambda: dict(),
        {
            "method": [None, 3, "unknown"],
            "seed": SEED,
            "selection_bias": [(NAN,) * 6, 3, "123456"],
            "labels": ["letters", [], [1, 2], 3, [HALF]],
            "experts": [3, [[1.0, 1.0]], [[NAN, 0.0]] * 6, [[0.0, 1.0]] * 30],
            "tokens": [3, "tokens", [[1.0, 1.0]], [[NAN, 0.0]] * 8],
            "selected": [99, True, "0"],
        },
    ),
    Entry(
        VIEWS + "parameter_explorer.ParameterExplorer",
        lambda: dict(),
        {
            "model": [None, 3, "unknown"],
            "batch_size": COUNT,
            "precision": [None, 3, "fp3", ["fp8"]],
        },
    ),
    Entry(
        VIEWS + "cache_calculator.CacheCalculator",
        lambda: dict(),
        {
            "model": [None, 3, "unknown"],
            "context": COUNT,
            "batch_size": COUNT,
            "precision": [None, "fp3", ["fp8"]],
            "memory": [0, NAN, "80", True, -1],
        },
    ),
    Entry(
        VIEWS + "flying_tokens.FlyingTokens",
        lambda: dict(trace=_trace(), layer=0, labels=["a"] * 6, row_bytes=10),
        {
            "trace": [None, 3, "trace", []],
            "layer": [99, -1, True, 0.0, "0"],
            "labels": [3, "abc", ["a"], [1] * 6, [HALF] * 6],
            "row_bytes": COUNT,
        },
    ),
    Entry(
        VIEWS + "flying_tokens.FlyingTokens.set",
        lambda: dict(devices=4, limit=2, copies=4, at=3),
        {
            "devices": [3, 0, True, 2.0, "2"],
            "limit": [0, 5, True, 1.0, "1"],
            "copies": [1, -1, True, 2.0],
            "at": [-1, 7, True, 1.0, NAN],
        },
        call=lambda arguments: _flying().set(**arguments),
    ),
    Entry(
        VIEWS + "phone_book.PhoneBookRace",
        lambda: dict(run=lambda **asked: None),
        {
            "run": [None, 3, "run"],
            "facts": [None, 0, 1000, "1024", 1024.0, True],
            "experts": [None, 0, 3, "8", 8.0],
            "chosen": [None, 0, 3, 64, "2", True],
        },
    ),
    Entry(
        VIEWS + "TryOut",
        lambda: dict(answer=answer, examples=["one", "two"]),
        {
            "answer": [None, 3],
            "examples": [3, "letters", [3], [("a", "b", "c")], [None]],
            "text": [3, HALF, "x" * 5000],
            "question": [3, HALF],
        },
        {"question": "examples"},
    ),
    Entry(
        VIEWS + "TuningComparator",
        lambda: dict(comparisons={"intents": made_up()}),
        {
            "comparisons": [None, {}, 3, {"a": 3}, Made("a key 3", lambda _: {3: made_up()})],
            "run": [3, "run"],
        },
    ),
    Entry(
        VIEWS + "balance_dashboard.BalanceDashboard",
        lambda: dict(config=make_model(router="biased_topk").config, batches=RandomBatches()),
        {
            "config": [None, {}],
            "batches": [None, 3],
            "steps": COUNT,
            "learning_rate": POSITIVE,
            "seed": SEED,
            "cure": [None, "prayer", 3],
            "alpha": [None, NAN, -1, True, "1", INF],
            "scope": [None, "world", 3],
            "bias_update_speed": [None, NAN, -0.1, True],
            "unknown_option": [1],
        },
        {"unknown_option": "options"},
    ),
    Entry(
        VIEWS + "balance_dashboard.figure.balance_figure",
        lambda: dict(runs=run()),
        {"runs": [None, 3, "runs", [], [3], Made("five", lambda _: [run()] * 5)]},
    ),
    Entry(
        VIEWS + "token_view.TokenView",
        lambda: dict(tokenizer=tokenizer(), text=SENTENCE),
        {"tokenizer": TOKENIZER, "text": TEXT},
    ),
    Entry(
        VIEWS + "token_view.TokenTable",
        lambda: dict(samples={"a": "text"}, rates={"a": 0.5}, tokenizer=tokenizer()),
        {
            "samples": [None, {}, 3, "a", {"a": 3}, {3: "text"}, {"a": HALF}],
            "rates": [None, {}, 3, {"a": NAN}, {"a": "1"}, {"a": -1}, {"b": 0.1}],
            "tokenizer": TOKENIZER,
        },
    ),
    looked_at("attention_view.AttentionViewer"),
    looked_at("attention_view.view_attention"),
    Entry(
        VIEWS + "attention_view.attention_figure",
        lambda: dict(maps={"a": maps()}, layer=0, head=0),
        {"maps": MAPS, "layer": [*NATURAL, 99], "head": [*NATURAL, 99]},
    ),
]
