"""Wrong input of replay, of writing routing as engines do, and of coverage."""

import torch

from tests.wrong_input.table import MODEL, NATURAL, Entry
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
]

EXEMPT = {
    "moe_lib.tracing.LayerReplay": "a record that replay_routing makes",
    "moe_lib.tracing.Replay": "a record that replay_routing makes",
    "moe_lib.tracing.coverage.Coverage": "a record that coverage makes",
    "moe_lib.tracing.coverage.KindCoverage": "a record that coverage makes",
    "moe_lib.tracing.coverage.changed_by_adapter": "tests/tracing/coverage: it needs peft's models",
    "moe_lib.tracing.coverage.changed_words": "says the table that changed_choices makes",
}
