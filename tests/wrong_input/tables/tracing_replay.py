"""Wrong input of replay, of writing routing as engines do, of coverage and of the atlas."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from moe_lib.text import load_tokenizer
from moe_lib.tracing.atlas import atlas_of
from tests.tracing.atlas_trace import made_up
from tests.wrong_input.table import COUNT, MODEL, NATURAL, PATH, TOKENIZER, Entry
from tests.wrong_input.tables.tracing import (
    DENSE,
    IDS,
    MASK,
    TRACE,
    WRONG_IDS,
    WRONG_MASK,
    model,
    trace,
    within,
)

DOCUMENTS = [{"text": "The key would not turn.", "domain": "a"}]


@cache
def read():
    return made_up(n_layers=1, windows=6, length=12)


@cache
def atlas():
    return atlas_of(read(), draws=5)


def page(folder: str) -> str:
    return f"{folder}/atlas.html"


ROUTED = [*TRACE[:-1], torch.zeros(2, 2)]
OTHER_IDS = [*(ids for ids in WRONG_IDS if ids is not None), IDS.flip(1), IDS[:2], IDS[:, :2]]
CHANGED = [None, "trace", 3, {}]


def written(name: str) -> Entry:
    return Entry(
        f"moe_lib.tracing.{name}",
        lambda: dict(trace=trace(), ids=IDS, n_prompt=2),
        {
            "trace": ROUTED,
            "ids": ["ids", IDS.float(), IDS[0], IDS[:, :2], IDS.flip(1)],
            "n_prompt": [*NATURAL, 99],
        },
    )


ENTRIES = [
    Entry(
        "moe_lib.tracing.replay_routing",
        lambda: dict(model=model(), trace=trace(), input_ids=IDS, attention_mask=MASK),
        {
            "model": [*MODEL, DENSE, torch.nn.Linear(2, 2)],
            "trace": ROUTED,
            "input_ids": OTHER_IDS,
            "attention_mask": WRONG_MASK,
        },
    ),
    Entry(
        "moe_lib.tracing.forced_routing",
        lambda: dict(model=model(), trace=trace()),
        {"model": [*MODEL, DENSE, torch.nn.Linear(2, 2)], "trace": ROUTED},
        call=lambda arguments: within("moe_lib.tracing.forced_routing", **arguments),
    ),
    written("to_vllm"),
    written("to_sglang"),
    Entry("moe_lib.tracing.coverage.coverage", lambda: dict(model=model()), {"model": MODEL}),
    Entry(
        "moe_lib.tracing.coverage.changed_choices",
        lambda: dict(before=trace(), after=trace()),
        {"before": CHANGED, "after": CHANGED},
    ),
    Entry(
        "moe_lib.tracing.atlas.cut_windows",
        lambda: dict(tokenizer=load_tokenizer("course"), documents=DOCUMENTS, window=4),
        {
            "tokenizer": TOKENIZER,
            "documents": [None, 3, "text", []],
            "max_tokens": COUNT,
            "window": COUNT,
        },
    ),
    Entry(
        "moe_lib.tracing.atlas.read_windows",
        lambda: dict(model=model(), windows=read().windows),
        {"model": [*MODEL, DENSE], "windows": [None, 3, "text", []]},
    ),
    Entry(
        "moe_lib.tracing.atlas.atlas_of",
        lambda: dict(read=read(), draws=3),
        {"read": [None, 3, trace()], "draws": COUNT, "importance": [3, {0: torch.zeros(3)}]},
    ),
    Entry(
        "moe_lib.views.atlas.write_atlas",
        lambda: dict(
            path=page(mkdtemp()), atlas=atlas(), tokenizer=load_tokenizer("course"), model="m"
        ),
        {"path": [*PATH, Path("/")], "atlas": [None, 3, {}], "model": [None, 3]},
    ),
]

EXEMPT = {
    "moe_lib.tracing.atlas.Atlas": "a record that atlas_of makes",
    "moe_lib.tracing.atlas.AtlasLayer": "a record that atlas_of makes",
    "moe_lib.tracing.atlas.ReadTexts": "a record that read_windows makes",
    "moe_lib.tracing.atlas.Window": "a record that cut_windows makes",
    "moe_lib.tracing.LayerReplay": "a record that replay_routing makes",
    "moe_lib.tracing.Replay": "a record that replay_routing makes",
    "moe_lib.tracing.coverage.Coverage": "a record that coverage makes",
    "moe_lib.tracing.coverage.KindCoverage": "a record that coverage makes",
    "moe_lib.tracing.coverage.changed_by_adapter": "tests/tracing/coverage: it needs peft's models",
    "moe_lib.tracing.coverage.changed_words": "says the table that changed_choices makes",
}
