"""Wrong input of the analyses of traces."""

import torch

from tests.wrong_input.table import (
    COUNT,
    INF,
    MODEL,
    NAN,
    SHARE,
    Entry,
)
from tests.wrong_input.tables.tracing import (
    IDS,
    MASK,
    OPTIONAL_COUNT,
    SEED,
    TRACE,
    WRONG_IDS,
    WRONG_MASK,
    model,
    on_trace,
    trace,
)

RANK = [0, -1, 1.0, True, "1", 3]

LABELS = [None, "labels", [[0]], IDS.float(), IDS[0], IDS[:, :2]]

TRACES = "moe_lib.tracing.analysis."

ENTRIES = [
    Entry(
        TRACES + "coactivation.shuffle_partners",
        lambda: dict(trace=trace()),
        {"trace": TRACE, "seed": SEED, "rounds": OPTIONAL_COUNT},
    ),
    on_trace("specialisation.choice_counts", {"labels": LABELS, "rank": RANK}, labels=IDS),
    on_trace("specialisation.domain_specialisation", {}),
    on_trace(
        "specialisation.token_specialisation",
        {"tokens": LABELS[1:], "rank": RANK, "min_count": COUNT},
    ),
    on_trace(
        "specialisation.bootstrap_domains",
        {
            "documents": ["a", [0, 1, 2, 3], IDS, torch.zeros(4), torch.zeros(3).long()],
            "draws": COUNT,
            "level": [*SHARE, 0, 1, INF],
            "seed": SEED,
        },
    ),
    Entry(
        TRACES + "specialisation.position_groups",
        lambda: dict(trace=trace()),
        {"trace": TRACE, "n_groups": COUNT},
    ),
    Entry(
        TRACES + "specialisation.shuffle_domains",
        lambda: dict(trace=trace()),
        {"trace": TRACE, "documents": ["a", [0], IDS], "seed": SEED},
    ),
    Entry(
        TRACES + "specialisation.exchange_routing",
        lambda: dict(trace=trace(), labels=IDS),
        {"trace": TRACE, "labels": LABELS, "seed": SEED},
    ),
    on_trace(
        "information.routing_information",
        {"labels": LABELS, "rank": RANK, "shuffles": COUNT, "seed": SEED},
        labels=IDS,
    ),
    *(
        Entry(
            TRACES + f"information.{name}",
            lambda: dict(counts=IDS),
            {"counts": [None, [[1]], IDS[0], IDS * 0, -IDS, IDS[:0], IDS * NAN, "counts", 3]},
        )
        for name in ("mutual_information", "miller_madow_bias")
    ),
    *(
        Entry(
            TRACES + f"saturation.{name}",
            lambda: dict(experts=torch.zeros(2, 1, 3, 2, dtype=torch.long)),
            {
                "experts": [None, [[1]], IDS, torch.zeros(2, 1, 3, 2), torch.zeros(0, 1, 1, 1)],
                "final": [2, -3, 9, 0.5, "1", None, True],
            },
        )
        for name in ("saturation", "saturation_by_chance")
    ),
    Entry(
        TRACES + "saturation.stack_experts",
        lambda: dict(traces=[trace(), trace()]),
        {"traces": [None, 3, "traces", [], [None], {}]},
    ),
    Entry(
        TRACES + "importance.text_losses",
        lambda: dict(model=model(), input_ids=IDS, attention_mask=MASK),
        {"model": MODEL, "input_ids": WRONG_IDS, "attention_mask": WRONG_MASK},
    ),
    Entry(
        TRACES + "importance.rises_without",
        lambda: dict(model=model(), off=[{1: [0]}], input_ids=IDS),
        {"model": MODEL, "off": [3, None, "off", [3], [{99: [0]}], [{1: [99]}]]},
    ),
]
