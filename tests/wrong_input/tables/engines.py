"""Wrong input of traces without their model, and of the monitor."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

from moe_lib import LanguageModel, ModelConfig, RoutingMonitor, RoutingTrace
from moe_lib.text import load_tokenizer
from tests.wrong_input.table import COUNT, MODEL, NATURAL, PATH, SHARE, TOKENIZER, Entry, Made

EXPERTS = np.array([[[0, 1], [2, 3]], [[1, 2], [3, 0]], [[3, 1], [0, 2]]])  # (tokens, layers, k)
IDS = [7, 8, 9]
OPTIONAL_COUNT = [value for value in COUNT if value is not None]
ANSWER = {"choices": [{"routed_experts": EXPERTS.tolist(), "token_ids": IDS}]}
NATIVE = {"output_ids": [9], "meta_info": {"prompt_tokens": 3, "routed_experts": EXPERTS.tolist()}}

WRONG_EXPERTS = [None, 3, "text", [], {}, EXPERTS[0], EXPERTS[0, 0], EXPERTS + 0.5, EXPERTS - 9]
WRONG_EXPERTS += [
    EXPERTS * 0,
    EXPERTS.astype(bool),
    [[[0, 1]], [[0]]],
    torch.tensor(EXPERTS).float(),
]
WRONG_EXPERTS += [EXPERTS * 10**9, np.zeros((3, 0, 2), int), np.zeros((3, 2, 0), int)]
WRONG_IDS = [3, "text", [1], [1, 2, 3, 4, 5], [1, 2, -2], [1.5, 2, 3], [[1], [2]], ["a", "b", "c"]]
WRONG_LAYERS = [3, "01", [0], [1, 0], [0, 0], [-1, 2], [0.5, 1], [True, 2]]
WRONG_CONFIG = [
    3,
    "nowhere",
    {},
    {"model_type": "no such"},
    {"model_type": 3},
    torch.nn.Linear(1, 1),
]
WRONG_CONFIG += [Path("/nowhere"), Made("dense", lambda _: ModelConfig.preset("mini").dense())]
WRONG_CONFIG += [Made("of four layers", lambda _: ModelConfig.preset("mini", num_hidden_layers=4))]
WRONG_ANSWERS = [
    None,
    3,
    [],
    {},
    [[]],
    "",
    "nowhere.json",
    "{",
    "[]",
    "[3]",
    b"{}",
    {"choices": []},
]
WRONG_ANSWERS += [{"error": "no"}, {"choices": [{"routed_experts": None}]}, {"choices": "text"}]
WRONG_ANSWERS += [
    {"choices": [{"routed_experts": 3}]},
    {"choices": [3]},
    Path("/"),
    Path("/dev/null"),
]


@cache
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny"))


@cache
def answers() -> str:
    path = Path(mkdtemp()) / "answers.json"
    path.write_text(json.dumps(ANSWER))
    return str(path)


@cache
def broken(text: str, suffix: str = ".json") -> str:
    path = Path(mkdtemp()) / f"broken{suffix}"
    path.write_text(text)
    return str(path)


def trace() -> RoutingTrace:
    return RoutingTrace.from_arrays(EXPERTS, IDS)


def loads(layer) -> torch.Tensor:
    return _monitor().loads(layer)


@cache
def _monitor() -> RoutingMonitor:
    monitor = RoutingMonitor(model())
    with monitor:
        model()(torch.tensor([IDS]))
        monitor.step()
    return monitor


BROKEN = [Made("cut", lambda _: broken('{"choices": [')), Made("empty", lambda _: broken(""))]
BROKEN += [
    Made("not UTF-8", lambda _: broken("\udcff".encode("utf-16", "surrogatepass").decode("latin1")))
]
BROKEN += [Made("no lines", lambda _: broken("\n", ".jsonl")), Made("3", lambda _: broken("3"))]
BROKEN += [Made("a list of numbers", lambda _: broken("[1, 2]", ".jsonl"))]

ENTRIES = [
    Entry(
        "moe_lib.RoutingTrace.from_arrays",
        lambda: dict(experts=EXPERTS, input_ids=IDS),
        {
            "experts": WRONG_EXPERTS,
            "input_ids": WRONG_IDS,
            "weights": [
                3,
                "text",
                EXPERTS[0] / 2,
                np.full(EXPERTS.shape, np.inf),
                EXPERTS * 1.0 + np.nan,
            ],
            "n_experts": [*OPTIONAL_COUNT, 2],
            "layers": WRONG_LAYERS,
            "config": WRONG_CONFIG,
            "domains": ["a", 3, ["a", "b"], [3], []],
        },
        {"n_experts": "experts"} | {"config": ""},
    ),
    Entry(
        "moe_lib.RoutingTrace.from_vllm",
        lambda: dict(response=ANSWER),
        {
            "response": WRONG_ANSWERS,
            "n_experts": [*OPTIONAL_COUNT, 2],
            "layers": WRONG_LAYERS,
            "config": WRONG_CONFIG,
            "n_layers": OPTIONAL_COUNT,
            "k": OPTIONAL_COUNT,
            "unknown": [1],
        },
        {"n_experts": "experts", "config": "", "response": ""},
    ),
    Entry(
        "moe_lib.RoutingTrace.from_sglang",
        lambda: dict(response=NATIVE, n_layers=2, k=2),
        {
            "response": [*WRONG_ANSWERS, {"meta_info": {}}, {"meta_info": 3}],
            "n_layers": OPTIONAL_COUNT,
            "k": OPTIONAL_COUNT,
            "n_experts": [*OPTIONAL_COUNT, 2],
            "layers": WRONG_LAYERS,
            "tokenizer": [3, "mixture", {}],
        },
        {"n_experts": "experts", "response": ""},
    ),
    Entry(
        "moe_lib.tracing.open_trace",
        lambda: dict(path=answers()),
        {"path": [*PATH, "nowhere.json", "nowhere", "/dev/null", *BROKEN], "k": OPTIONAL_COUNT},
        {"path": ""},
    ),
    Entry(
        "moe_lib.tracing.read_trace",
        lambda: dict(trace=trace(), tokenizer=load_tokenizer("course"), row=0, max_tokens=9),
        {
            "trace": [None, 3, "trace", {}],
            "tokenizer": [value for value in TOKENIZER if value is not None],
            "row": [*NATURAL, 1],
            "max_tokens": COUNT,
        },
    ),
    Entry(
        "moe_lib.opening.open_tokenizer",
        lambda: dict(name_or_folder="mini-causal"),
        {"name_or_folder": [*PATH, "nowhere"]},
        {"name_or_folder": ""},
    ),
    Entry(
        "moe_lib.RoutingMonitor",
        lambda: dict(model=model(), every=1, log=None, collapse=0.5),
        {
            "model": [*MODEL, torch.nn.Linear(2, 2)],
            "every": COUNT,
            "log": [3, "file", {}, lambda: 3, lambda numbers: 3],
            "collapse": SHARE,
        },
    ),
    Entry(
        "moe_lib.RoutingMonitor.loads",
        lambda: dict(layer=1),
        {"layer": [*NATURAL, 99]},
        call=lambda arguments: loads(**arguments),
    ),
]
