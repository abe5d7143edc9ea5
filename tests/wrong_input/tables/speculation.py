"""Wrong input of drafts, of what two ways of reading agree on, and of when a window pays."""

from functools import cache

from tests.wrong_input.models import IDS, WRONG_IDS, new_model, small
from tests.wrong_input.table import (
    COUNT,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    TOKENIZER,
    Entry,
    Made,
)
from tests.wrong_input.tables.compression import DENSE, MASKED, OURS, ROOM

IDS_ONLY = {"input_ids": WRONG_IDS}


@cache
def readings(ids=IDS):
    from moe_lib.compression import read_whole

    return read_whole(small(), ids)


ENTRIES = [
    Entry(
        ROOM + "fewer_experts_draft",
        lambda: dict(model=small(), k=1),
        {
            "model": [*OURS, DENSE, Made("hash", lambda _: new_model(router="hash"))],
            "k": [*COUNT, 2],
        },
    ),
    Entry(ROOM + "shared_only_draft", lambda: dict(model=small()), {"model": [*OURS, DENSE]}),
    Entry(
        ROOM + "early_exit_draft",
        lambda: dict(model=small(), n_layers=1),
        {"model": OURS, "n_layers": [*COUNT, 2]},
    ),
    Entry(
        ROOM + "speculate",
        lambda: dict(
            model=small(),
            draft=small(),
            input_ids=IDS[:1],
            max_new_tokens=3,
            window=2,
            temperature=0.5,
            tokenizer=None,
            draft_tokenizer=None,
        ),
        {
            "model": [*OURS, MASKED],
            "draft": [*OURS, MASKED, Made("of other words", lambda _: new_model(vocab_size=21))],
            "input_ids": [*WRONG_IDS, IDS],
            "max_new_tokens": [*COUNT, 100],
            "window": COUNT,
            "temperature": NON_NEGATIVE,
            "generator": [3, "seed"],
            "tokenizer": TOKENIZER[1:],
            "draft_tokenizer": TOKENIZER[1:],
        },
    ),
    *(
        Entry(
            ROOM + name, lambda: dict(model=small(), input_ids=IDS), {"model": models, **IDS_ONLY}
        )
        for name, models in (
            ("read_whole", [*OURS, DENSE]),
            ("read_cached", [*OURS, DENSE, MASKED]),
            ("read_alone", [*OURS, DENSE]),
        )
    ),
    Entry(
        ROOM + "agreement",
        lambda: dict(model=small(), first=readings(), second=readings()),
        {
            "model": [*OURS, DENSE],
            "first": [None, 3, {}, {0: readings()[0]}, {0: 1, 1: 2}],
            "second": [
                None,
                3,
                {},
                {0: readings()[0]},
                Made("of fewer", lambda _: readings(IDS[:2])),
            ],
        },
    ),
    Entry(
        ROOM + "expected_tokens",
        lambda: dict(acceptance=0.5, window=3),
        {"acceptance": SHARE, "window": NATURAL},
    ),
    Entry(
        ROOM + "speed_up",
        lambda: dict(acceptance=0.5, window=3, draft_cost=0.1, window_cost=1.0),
        {
            "acceptance": SHARE,
            "window": NATURAL,
            "draft_cost": NON_NEGATIVE,
            "window_cost": POSITIVE,
        },
    ),
    Entry(
        ROOM + "window_bytes",
        lambda: dict(config=small().config, tokens=3, distinct=2.5),
        {"config": [None, {}, 3], "tokens": COUNT, "distinct": [-1, 5, "2", NAN]},
    ),
]

EXEMPT = {
    "moe_lib.compression.Agreement": "made by agreement",
    "moe_lib.compression.MultiTokenModule": "made by deepseek_v3_module",
    "moe_lib.compression.deepseek_v3_module": "takes nothing",
    "moe_lib.compression.Speculated": "made by speculate",
}
